"""What the server remembers: collections, versions, aliases, runs. One JSON file, written before each answer."""

import base64
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import xxhash

ENTITY = "local"

Record = dict[str, Any]


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def hex_of(digest: str) -> str:
    """The hexadecimal form of a digest as manifests have it: base64."""
    return base64.b64decode(digest).hex()


def hasher(algorithm: str) -> Any:
    return xxhash.xxh3_128() if algorithm == "xxh128" else hashlib.md5(usedforsecurity=False)


class Records:
    """The server's memory, and the folder that it lies in.

    Attributes:
        runs, collections: By `entity/project/name`.
        artifacts, manifests: By id.
        clients: The ids that clients made up, and ours.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("blobs", "manifests", "parts", "runs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        kept = json.loads((folder / "state.json").read_text()) if (folder / "state.json").exists() else {}
        self.count: int = kept.get("count", 0)
        self.runs: dict[str, Record] = kept.get("runs", {})
        self.collections: dict[str, Record] = kept.get("collections", {})
        self.artifacts: dict[str, Record] = kept.get("artifacts", {})
        self.manifests: dict[str, Record] = kept.get("manifests", {})
        self.clients: dict[str, str] = kept.get("clients", {})

    def keep(self) -> None:
        names = ("count", "runs", "collections", "artifacts", "manifests", "clients")
        part = self.folder / "state.part"
        part.write_text(json.dumps({name: getattr(self, name) for name in names}))
        os.replace(part, self.folder / "state.json")

    def new_id(self, kind: str) -> str:
        self.count += 1
        return base64.b64encode(f"{kind}:{self.count}".encode()).decode()

    def blob(self, algorithm: str, digest: str) -> Path:
        return self.folder / "blobs" / f"{algorithm}-{digest}"

    def manifest_file(self, manifest: str) -> Path:
        return self.folder / "manifests" / hashlib.sha256(manifest.encode()).hexdigest()[:32]

    def entries(self, artifact: Record) -> dict[str, Record]:
        """The contents of an artifact's manifest, by path; nothing where it was not uploaded yet."""
        try:
            contents: dict[str, Record] = json.loads(self.manifest_file(artifact["manifest"] or "").read_bytes())[
                "contents"
            ]
        except FileNotFoundError:
            return {}
        return contents

    def blob_of(self, entry: Record) -> Path:
        algorithm = entry.get("extra", {}).get("alg", "MD5").lower()
        return self.blob(algorithm, hex_of(entry["digest"]))

    def version_named(self, place: str, alias: str) -> str | None:
        """The id of the version that an alias, `vN` or a digest means in a collection."""
        collection = self.collections.get(place)
        if collection is None:
            return None
        if alias in collection["aliases"]:
            return str(collection["aliases"][alias])
        for one in collection["versions"]:
            if alias in (f"v{self.artifacts[one]['index']}", self.artifacts[one]["digest"]):
                return str(one)
        return None
