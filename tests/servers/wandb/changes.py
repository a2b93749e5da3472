"""What a client may change: runs, artifacts and their files, aliases. Each method is the mutation of its name."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.servers.wandb.records import ENTITY, Record, Records, hasher, hex_of, now
from tests.servers.wandb.selection import RefusedError
from tests.servers.wandb.views import View, Views, page


class Changes:
    """Mutations of the records; parameters have the names of the client's inputs."""

    def __init__(self, records: Records, views: Views) -> None:
        self._records = records
        self._views = views

    def mutation(self) -> View:
        def given(name: str) -> Any:
            return lambda input: getattr(self, name)(**input)

        known = [name for name in vars(type(self)) if not name.startswith("_") and name != "mutation"]
        return {"__typename": "Mutation", **{name: given(name) for name in known}}

    def upsertBucket(
        self,
        name: str | None = None,
        modelName: str | None = None,
        entityName: str | None = None,
        config: str | None = None,
        summaryMetrics: str | None = None,
        id: str | None = None,
        displayName: str | None = None,
        **_: Any,
    ) -> View:
        runs = self._records.runs
        known = next((key for key, one in runs.items() if id and one["id"] == id), None)
        key = known or f"{entityName or ENTITY}/{modelName or 'uncategorized'}/{name}"
        new = key not in runs
        if new:
            fresh = {"config": "{}", "summaryMetrics": "{}", "createdAt": now(), "heartbeatAt": now()}
            runs[key] = {"id": self._records.new_id("Run"), "displayName": displayName or name, **fresh}
        runs[key]["config"] = config or runs[key]["config"]
        runs[key]["summaryMetrics"] = summaryMetrics or runs[key]["summaryMetrics"]
        return {"bucket": self._views.run(key), "inserted": new}

    def createRunFiles(self, files: Sequence[str] = (), runName: str | None = None, **_: Any) -> View:
        urls = [{"name": name, "uploadUrl": self._views.sign("run", f"{runName}.{name}")} for name in files]
        return {"runID": runName, "uploadHeaders": [], "files": urls}

    def markRunFilesUploaded(self, **_: Any) -> View:
        return {"success": True}

    def createArtifact(
        self,
        entityName: str | None,
        projectName: str,
        artifactTypeName: str,
        artifactCollectionName: str,
        digest: str,
        digestAlgorithm: str | None = None,
        clientID: str | None = None,
        sequenceClientID: str | None = None,
        aliases: Sequence[Record] | None = None,
        metadata: str | None = None,
        runName: str | None = None,
        description: str | None = None,
        historyStep: int | None = None,
        enableDigestDeduplication: bool = True,
        **_: Any,
    ) -> View:
        place = f"{entityName or ENTITY}/{projectName}"
        key = f"{place}/{artifactCollectionName}"
        fresh = {"type": artifactTypeName, "versions": [], "aliases": {}, "created": now()}
        collection = self._records.collections.setdefault(key, fresh)
        if collection["type"] != artifactTypeName:
            raise RefusedError(f"artifact type mismatch: {collection['type']}")
        same = [one for one in collection["versions"] if self._records.artifacts[one]["digest"] == digest]
        if same and enableDigestDeduplication:
            self._records.clients[clientID or ""] = same[0]
            self._point(key, same[0], aliases)
            return {"artifact": self._views.artifact(same[0])}
        id = self._records.new_id("Artifact")
        self._records.artifacts[id] = {
            "collection": key,
            "state": "PENDING",
            "digest": digest,
            "algorithm": digestAlgorithm or "MANIFEST_MD5",
            "metadata": metadata,
            "description": description,
            "run": f"{place}/{runName}" if runName else None,
            "wanted": list(aliases or ()),
            "index": None,
            "created": now(),
            "used": [],
            "step": historyStep,
            "manifest": None,
        }
        self._records.clients |= {clientID or "": id, sequenceClientID or "": f"C:{key}"}
        return {"artifact": self._views.artifact(id)}

    def createArtifactManifest(self, artifactID: str, digest: str, **_: Any) -> View:
        id = self._records.new_id("Manifest")
        self._records.manifests[id] = {"artifact": artifactID, "digest": digest}
        self._records.artifacts[artifactID]["manifest"] = id
        return {"artifactManifest": self._views.manifest(id)}

    def updateArtifactManifest(self, artifactManifestID: str, **_: Any) -> View:
        return {"artifactManifest": self._views.manifest(artifactManifestID)}

    def createArtifactFiles(
        self,
        artifactFiles: Sequence[Mapping[str, Any]],
        digestAlgorithm: str | None = None,
        **_: Any,
    ) -> View:
        algorithm = "xxh128" if digestAlgorithm == "MANIFEST_XXH128" else "md5"
        return {"files": page([self._upload(file, algorithm) for file in artifactFiles])}

    def _upload(self, file: Mapping[str, Any], algorithm: str) -> View:
        digest = file.get("digest") or file["md5"]
        key = f"{algorithm}-{hex_of(digest)}"
        have = self._records.blob(algorithm, hex_of(digest)).exists()
        headers = [f"Content-MD5:{digest}"] if algorithm == "md5" else []
        parts = file.get("uploadPartsInput")
        found: View = {
            "storagePath": key,
            "uploadUrl": None if have else self._views.sign("upload", key),
            "uploadHeaders": [*headers, "Content-Type:application/octet-stream"],
            "uploadMultipartUrls": None,
            "artifact": {"id": file["artifactID"]},
            "name": file.get("name"),
            "displayName": file.get("name"),
        }
        if parts and not have:
            id = f"parts{self._records.new_id('Upload').rstrip('=')}"
            numbers = [part["partNumber"] for part in parts]
            urls = [{"partNumber": n, "uploadUrl": self._views.sign("part", f"{id}.{n}")} for n in numbers]
            found["uploadMultipartUrls"] = {"uploadID": id, "uploadUrlParts": urls}
        return found

    def completeMultipartUploadArtifact(
        self,
        completedParts: Sequence[Mapping[str, Any]],
        storagePath: str,
        uploadID: str,
        **_: Any,
    ) -> View:
        algorithm, _sign, digest = storagePath.partition("-")
        seen = hasher(algorithm)
        part = self._records.folder / "parts" / f"{uploadID}.whole"
        with part.open("wb") as whole:
            for number in sorted(one["partNumber"] for one in completedParts):
                data = (self._records.folder / "parts" / f"{uploadID}.{number}").read_bytes()
                seen.update(data)
                whole.write(data)
        if seen.hexdigest() != digest:
            raise RefusedError("the parts are not what was announced")
        part.replace(self._records.blob(algorithm, digest))
        return {"digest": digest}

    def commitArtifact(self, artifactID: str, **_: Any) -> View:
        found = self._records.artifacts[artifactID]
        if found["state"] != "COMMITTED":
            entries = self._records.entries(found)
            stored = {path: entry for path, entry in entries.items() if "ref" not in entry}
            missing = [path for path, entry in stored.items() if not self._records.blob_of(entry).exists()]
            if missing:
                raise RefusedError(f"missing files {json.dumps(missing)}")
            self._commit(artifactID, found)
        return {"artifact": self._views.artifact(artifactID)}

    def _commit(self, id: str, found: Record) -> None:
        collection = self._records.collections[found["collection"]]
        made = [self._records.artifacts[one]["index"] for one in collection["versions"]]
        found |= {"state": "COMMITTED", "index": max(made, default=-1) + 1}
        collection["versions"].append(id)
        collection["aliases"]["latest"] = id
        self._point(found["collection"], id, found["wanted"])

    def _point(self, key: str, id: str, aliases: Sequence[Record] | None) -> None:
        for one in aliases or ():
            self._records.collections[key]["aliases"][one["alias"]] = id

    def useArtifact(
        self,
        artifactID: str,
        entityName: str | None = None,
        projectName: str | None = None,
        runName: str | None = None,
        **_: Any,
    ) -> View:
        used = self._records.artifacts[artifactID]["used"]
        run = f"{entityName or ENTITY}/{projectName}/{runName}"
        used += [] if run in used else [run]
        return {"artifact": self._views.artifact(artifactID)}

    def updateArtifact(
        self,
        artifactID: str,
        description: str | None = None,
        metadata: str | None = None,
        aliases: Sequence[Record] | None = None,
        **_: Any,
    ) -> View:
        found = self._records.artifacts[artifactID]
        found["description"] = description or found["description"]
        found["metadata"] = metadata or found["metadata"]
        if aliases is not None:
            collection = self._records.collections[found["collection"]]
            kept = {alias: id for alias, id in collection["aliases"].items() if id != artifactID}
            collection["aliases"] = kept
            self._point(found["collection"], artifactID, aliases)
        return {"artifact": self._views.artifact(artifactID)}

    def addAliases(self, artifactID: str, aliases: Sequence[Record], **_: Any) -> View:
        self._point(self._records.artifacts[artifactID]["collection"], artifactID, aliases)
        return {"success": True}

    def deleteAliases(self, artifactID: str, aliases: Sequence[Record], **_: Any) -> View:
        collection = self._records.collections[self._records.artifacts[artifactID]["collection"]]
        for one in aliases:
            collection["aliases"].pop(one["alias"], None)
        return {"success": True}

    def deleteArtifact(self, artifactID: str, deleteAliases: bool = False, **_: Any) -> View:
        found = self._records.artifacts[artifactID]
        collection = self._records.collections[found["collection"]]
        pointing = [alias for alias, id in collection["aliases"].items() if id == artifactID]
        if pointing and not deleteAliases:
            raise RefusedError("cannot delete an artifact with aliases")
        shown = self._views.artifact(artifactID)
        for alias in pointing:
            del collection["aliases"][alias]
        found["deleted"] = True
        collection["versions"].remove(artifactID)
        if collection["versions"]:
            collection["aliases"].setdefault("latest", collection["versions"][-1])
        return {"artifact": shown}
