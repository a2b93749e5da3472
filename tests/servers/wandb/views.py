"""What a client may ask about: projects, collections, versions, files, runs, each as a dictionary of its fields."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tests.servers.wandb.records import ENTITY, Record, Records, now

View = dict[str, Any]

_FEATURES = ("ARTIFACT_DIGEST_ALGORITHM", "TOTAL_COUNT_IN_FILE_CONNECTION")
"""What the client asks before it uses XXH128, and before it asks how many files there are."""


def page(
    nodes: Sequence[View | None], *, edge: Callable[[View], View] | None = None, after: int = 0, more: bool = False
) -> View:
    edges = [
        {"node": node, "cursor": str(after + at), **(edge(node) if edge and node else {})}
        for at, node in enumerate(nodes, 1)
    ]
    turning = {"__typename": "PageInfo", "endCursor": str(after + len(nodes)), "hasNextPage": more}
    return {"totalCount": len(nodes), "pageInfo": turning, "edges": edges}


def paged(nodes: Sequence[View | None], first: int | None, after: str | None, **more: Any) -> View:
    start = int(after or 0)
    end = len(nodes) if first is None else start + first
    return page(nodes[start:end], after=start, more=end < len(nodes), **more)


class Views:
    """Views of the records.

    Args:
        records: What the server remembers.
        sign: Makes the URL of an object: `sign("file", artifact, path)`.
    """

    def __init__(self, records: Records, sign: Callable[..., str]) -> None:
        self._records = records
        self.sign = sign

    def query(self) -> View:
        return {
            "__typename": "Query",
            "viewer": self._viewer(),
            "serverInfo": {
                "features": [{"name": name, "isEnabled": True} for name in _FEATURES],
                "cliVersionInfo": {},
                "latestLocalVersionInfo": None,
            },
            "entity": lambda name: {"id": name, "name": name, "organization": None, "xxhashDigestsEnabled": True},
            "project": lambda name=None, entityName=None: self.known_project(entityName, name),
            "model": lambda name=None, entityName=None: self.project(entityName, name),
            "artifact": self.artifact,
            "clientIDMapping": lambda clientID: (
                {"serverID": self._records.clients[clientID]} if clientID in self._records.clients else None
            ),
        }

    def _viewer(self) -> View:
        teams = page([{"name": ENTITY, "id": "1"}])
        same = dict.fromkeys(("name", "entity", "username"), ENTITY)
        return {**same, "__typename": "User", "id": "U1", "email": "", "flags": "{}", "admin": False, "teams": teams}

    def known_project(self, entity: str | None, name: str) -> View | None:
        place = f"{entity or ENTITY}/{name}/"
        known = any(key.startswith(place) for key in (*self._records.collections, *self._records.runs))
        return self.project(entity, name) if known else None

    def project(self, entity: str | None, name: str) -> View:
        entity = entity or ENTITY
        place = f"{entity}/{name}"
        return {
            "__typename": "Project",
            "id": f"P:{place}",
            "internalId": "UHJvamVjdEludGVybmFsSWQ6MQ==",
            "name": name,
            "entity": {"name": entity, "id": entity, "organization": None},
            "readOnly": False,
            "artifact": lambda name: self._named(place, name),
            "artifactType": lambda name: self._type(place, name),
            "artifactTypes": lambda **_: page([self._type(place, one) for one in self._types(place)]),
            "artifactCollection": lambda name: self.collection(f"{place}/{name}"),
            "artifactCollectionMembership": lambda name: self._membership(place, name),
            "run": lambda name: self.run(f"{place}/{name}"),
            "bucket": lambda name, missingOk=None: self.run(f"{place}/{name}"),
        }

    def _types(self, place: str) -> list[str]:
        found = self._records.collections.items()
        return sorted({one["type"] for key, one in found if key.startswith(f"{place}/")})

    def _type(self, place: str, name: str) -> View | None:
        def collections() -> list[View | None]:
            known = self._records.collections.items()
            return [self.collection(key) for key, one in known if key.startswith(f"{place}/") and one["type"] == name]

        if name not in self._types(place):
            return None
        return {
            "__typename": "ArtifactType",
            "id": f"T:{name}",
            "name": name,
            "description": None,
            "createdAt": now(),
            "artifactCollection": lambda name: next((c for c in collections() if c and c["name"] == name), None),
            "artifactCollections": lambda first=None, after=None, **_: paged(collections(), first, after),
        }

    def collection(self, key: str) -> View | None:
        found = self._records.collections.get(key)
        if found is None:
            return None
        entity, project, name = key.split("/")
        versions = found["versions"]

        def listed(first: int | None = None, after: str | None = None, **_: Any) -> View:
            ordered = [self.artifact(one) for one in reversed(versions)]
            return paged(ordered, first, after, edge=lambda node: {"version": f"v{node['versionIndex']}"})

        return {
            "__typename": "ArtifactSequence",
            "__interface": "ArtifactCollection",
            "id": f"C:{key}",
            "name": name,
            "description": None,
            "createdAt": found["created"],
            "updatedAt": found["created"],
            "project": self.project(entity, project),
            "digestAlgorithm": self._records.artifacts[versions[-1]]["algorithm"] if versions else None,
            "defaultArtifactType": {"name": found["type"], "id": f"T:{found['type']}"},
            "tags": page([]),
            "aliases": lambda **_: page([{"alias": alias, "id": alias} for alias in found["aliases"]]),
            "latestArtifact": lambda: self.artifact(versions[-1]) if versions else None,
            "artifacts": listed,
            "artifactMembership": lambda aliasName: self._membership(f"{entity}/{project}", f"{name}:{aliasName}"),
        }

    def _named(self, place: str, name: str) -> View | None:
        found = self._membership(place, name)
        return found and found["artifact"]

    def _own_membership(self, found: Record) -> View | None:
        place, _, name = found["collection"].rpartition("/")
        return self._membership(place, f"{name}:v{found['index']}")

    def _membership(self, place: str, name: str) -> View | None:
        collection, _, alias = name.partition(":")
        found = self._records.version_named(f"{place}/{collection}", alias or "latest")
        artifact = found and self.artifact(found)
        if not artifact:
            return None
        return {
            "__typename": "ArtifactCollectionMembership",
            "id": f"M{found}",
            "versionIndex": artifact["versionIndex"],
            "createdAt": artifact["createdAt"],
            "aliases": artifact["aliases"],
            "artifactCollection": self.collection(f"{place}/{collection}"),
            "artifact": artifact,
            "files": artifact["files"],
        }

    def artifact(self, id: str) -> View | None:
        found = self._records.artifacts.get(id)
        if found is None or found.get("deleted"):
            return None
        entries = self._records.entries(found)
        return {
            "__typename": "Artifact",
            "id": id,
            "state": found["state"],
            "digest": found["digest"],
            "digestAlgorithm": found["algorithm"],
            "metadata": found["metadata"],
            "description": found["description"],
            "versionIndex": found["index"],
            "createdAt": found["created"],
            "updatedAt": found["created"],
            "historyStep": found["step"],
            "commitHash": id,
            "ttlDurationSeconds": -2,
            "ttlIsInherited": True,
            "tags": [],
            "fileCount": len(entries),
            "size": sum(entry.get("size", 0) for entry in entries.values()),
            "artifactType": {"name": self._records.collections[found["collection"]]["type"]},
            "artifactSequence": lambda: self.collection(found["collection"]),
            "artifactCollections": lambda **_: page([self.collection(found["collection"])]),
            "artifactMemberships": lambda **_: page([self._own_membership(found)]),
            "aliases": self._aliases(id, found),
            "currentManifest": lambda: found["manifest"] and self.manifest(found["manifest"]),
            "usedBy": lambda **_: page([self.run(key) for key in found["used"]]),
            "createdBy": lambda: found["run"] and self.run(found["run"]),
            "files": lambda names=None, first=None, after=None, **_: self._files(id, entries, names, first, after),
        }

    def _aliases(self, id: str, found: Record) -> list[View]:
        aliases: Mapping[str, str] = self._records.collections[found["collection"]]["aliases"]

        def view(alias: str) -> View:
            where = {"artifactCollection": lambda: self.collection(found["collection"])}
            return {"__typename": "ArtifactAlias", "id": f"{id}{alias}", "alias": alias, **where}

        return [view(alias) for alias, version in aliases.items() if version == id]

    def _files(
        self,
        id: str,
        entries: Mapping[str, Record],
        names: Iterable[str] | None,
        first: int | None,
        after: str | None,
    ) -> View:
        wanted = None if names is None else set(names)
        stored = [(path, entry) for path, entry in sorted(entries.items()) if "ref" not in entry]
        found: list[View | None] = [
            self._file(id, path, entry) for path, entry in stored if wanted is None or path in wanted
        ]
        return {**paged(found, first, after), "totalCount": len(found)}

    def _file(self, id: str, path: str, entry: Record) -> View:
        url = self.sign("file", id, path)
        return {
            "__typename": "File",
            "id": f"{id}/{path}",
            "name": path,
            "displayName": path,
            "url": url,
            "directUrl": url,
            "sizeBytes": entry.get("size", 0),
            "storagePath": "",
            "mimetype": "",
            "updatedAt": now(),
            "digest": entry["digest"],
            "md5": entry["digest"],
        }

    def manifest(self, id: str) -> View:
        file = {
            "id": id,
            "directUrl": self.sign("manifest", id),
            "uploadUrl": self.sign("manifest", id),
            "uploadHeaders": [],
        }
        return {"__typename": "ArtifactManifest", "id": id, "file": file}

    def run(self, key: str) -> View | None:
        found = self._records.runs.get(key)
        if found is None:
            return None
        entity, project, name = key.split("/")

        def outputs(**_: Any) -> View:
            made = [id for id, one in self._records.artifacts.items() if one["run"] == key and one["index"] is not None]
            return page([self.artifact(id) for id in made])

        def inputs(**_: Any) -> View:
            return page([self.artifact(id) for id, one in self._records.artifacts.items() if key in one["used"]])

        return {
            **_RUN,
            **found,
            "name": name,
            "project": self.project(entity, project),
            "wandbConfig": lambda **_: '{"t": {"1": []}}',
            "outputArtifacts": outputs,
            "inputArtifacts": inputs,
            "files": lambda **_: page([]),
        }


_RUN: View = {
    "__typename": "Run",
    "projectId": "1",
    "commit": None,
    "readOnly": False,
    "description": None,
    "sweepName": None,
    "historyLineCount": 0,
    "logLineCount": 0,
    "eventsLineCount": 0,
    "historyTail": "[]",
    "eventsTail": "[]",
    "tags": [],
    "state": "running",
    "jobType": None,
    "group": None,
    "notes": None,
    "user": {"name": ENTITY, "username": ENTITY},
    "stopped": False,
    "internalId": "1",
}
