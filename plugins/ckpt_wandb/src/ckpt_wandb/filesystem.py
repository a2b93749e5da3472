"""`wandb://entity/project/name:alias[/path]` as a filesystem of fsspec: listed from manifests, read in ranges.

Single files are not written through it: `publish` makes a version of many. An alias is settled when an instance first
meets it, so that a listing and the reads that follow are of one version; `invalidate_cache` forgets that. What a
version holds never changes, and is kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from fsspec import AbstractFileSystem
from fsspec.spec import AbstractBufferedFile

from ckpt_core import CkptError, UnsafeContentError, list_files, printable
from ckpt_wandb.artifacts import Entry, PinnedArtifact, open_artifact
from ckpt_wandb.cache import shared_cache
from ckpt_wandb.publishing.destinations import check_aliases, publish_files, staging_of
from ckpt_wandb.publishing.removing import check_versions, remove_version, versions_of
from ckpt_wandb.refs import SCHEME, ArtifactRef, parse

FOLLOWED = ("http://", "https://", "s3://", "gs://", "gcs://", "hf://")
"""Where a reference may lead. Never to a file of this machine: whoever made the artifact would choose which."""


class WandbFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """The files of W&B artifacts.

    They are read, and published as a whole.
    """

    protocol: ClassVar[str] = "wandb"
    signs_anew: ClassVar[bool] = True  # the ranged reader asks for a URL with `fresh=True` where one has expired
    publishes: ClassVar[bool] = True  # save, convert and copy stage what they write, and give it to `publish`
    caches: ClassVar[bool] = True  # a copy asks it for files that this machine has already, and offers what it brought
    cachable: ClassVar[bool] = False  # an alias may mean another version the next time

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._settled: dict[str, PinnedArtifact] = {}

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.removeprefix(SCHEME).rstrip("/")

    def invalidate_cache(self, path: str | None = None) -> None:
        self._settled.clear()

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return size, digest and type of a file or folder.

        Of a folder its type alone. FileNotFoundError where there is neither.
        """
        ref, artifact = self._opened(path)
        name = self._strip_protocol(path)
        entry = artifact.entries.get(ref.path)
        if entry is not None:
            return _described(name, entry)
        if ref.path and not any(one.startswith(f"{ref.path}/") for one in artifact.entries):
            raise FileNotFoundError(name)
        return {"name": name, "size": 0, "type": "directory"}

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """Return the content of a folder, by name."""
        below = self.find(path, detail=True)
        name = self._strip_protocol(path)
        inside: dict[str, dict[str, Any]] = {}
        for full, about in below.items():
            inner, deeper, _rest = full[len(name) + 1 :].partition("/")
            folder = {"name": f"{name}/{inner}", "size": 0, "type": "directory"}
            inside[inner] = folder if deeper else about
        listed = [inside[inner] for inner in sorted(inside)]
        return listed if detail else [one["name"] for one in listed]

    def find(
        self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **_: Any
    ) -> Any:
        """Return every file below a folder by its full name.

        Of a file it is the file itself.
        """
        if maxdepth is not None or withdirs:
            return super().find(path, maxdepth=maxdepth, withdirs=withdirs, detail=detail)
        ref, artifact = self._opened(path)
        name = self._strip_protocol(path)
        if ref.path in artifact.entries:
            described = {name: _described(name, artifact.entries[ref.path])}
        else:
            start = f"{ref.path}/" if ref.path else ""
            inside = {one: entry for one, entry in artifact.entries.items() if one.startswith(start)}
            if not inside and ref.path:
                raise FileNotFoundError(name)
            described = {full: _described(full, one) for full, one in _named(name, start, inside)}
        return described if detail else sorted(described)

    def sign(self, path: str, expiration: int = 0, *, fresh: bool = False, **_: Any) -> str:
        """Return the URL of a file; a secret.

        It is good for as long as the server says.

        Args:
            path: The file.
            expiration: Not asked for: the server decides.
            fresh: Ask for a new one, since the last was refused.

        Raises:
            FileNotFoundError: There is no such file.
            UnsafeContentError: It is a reference to where none is followed.
            NotImplementedError: It is a reference to another store, which has URLs of its own.
        """
        ref, artifact = self._opened(path)
        entry = artifact.entries.get(ref.path)
        if entry is None:
            raise FileNotFoundError(self._strip_protocol(path))
        if entry.reference is None:
            return artifact.url(ref.path, fresh=fresh)
        target = followed(f"{artifact.ref}/{printable(ref.path)}", entry)
        if target.startswith(("http://", "https://")):
            return target
        raise NotImplementedError("a reference to another store")

    def staging(self, url: str, *, is_file: bool) -> str:
        """Return the folder where a URL's next version is staged.

        It is on this machine.

        Raises:
            UsageError: Nothing can be published there.
        """
        return staging_of(url, is_file=is_file)

    def check_aliases(self, url: str, aliases: Sequence[str]) -> None:
        """Refuse what W&B takes for no alias, with UsageError."""
        check_aliases(url, aliases)

    def publish(
        self, url: str, files: Mapping[str, str], *, is_file: bool, aliases: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Upload files as a new version.

        Returns `url`, pinned to it, `is_new`, and a `note` for the user.

        Args:
            url: The artifact, with an alias that shall mean the version, with a path in it.
            files: Paths on this machine, by the path that each has below the URL.
            is_file: Whether the URL names one of them, the others lying beside it.
            aliases: That shall mean the version, beside that of the URL.

        Raises:
            NoAnswerError: W&B did not take it; no version was made.
            CorruptError: The manifest of the version is not what was uploaded.
        """
        return publish_files(url, files, is_file=is_file, aliases=aliases)

    def check_versions(self, url: str) -> None:
        """Refuse a URL that names no artifact with versions, with UsageError."""
        check_versions(url)

    def versions(self, url: str) -> Iterator[dict[str, Any]]:
        """Yield the versions of a URL's artifact, newest first.

        Of each `url`, pinned to it, `step`, the `aliases` that somebody gave it, and when it was `made`, in seconds.
        """
        return versions_of(url)

    def remove_version(self, url: str) -> None:
        """Remove a version for good, unless an alias means it (OverwriteError)."""
        remove_version(url)

    def cached(self, path: str) -> str | None:
        """Return where the cache of this machine has a file.

        None where it has not. Its bytes may be any: see `Cache`.
        """
        entry, cache = self._hashed(path), shared_cache()
        return None if entry is None or cache is None else cache.path_of(entry)

    def keep(self, path: str, local: str) -> None:
        """Put a copy of a proved local file into the cache."""
        entry, cache = self._hashed(path), shared_cache()
        if entry is not None and cache is not None:
            cache.keep_copy(entry, Path(local))

    def _hashed(self, path: str) -> Entry | None:
        """Return the entry of a file whose bytes have a hash.

        None where the manifest has none of them.
        """
        ref, artifact = self._opened(path)
        entry = artifact.entries.get(ref.path)
        return entry if entry is not None and entry.is_checked else None

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Return bytes `start` to `end` of a file.

        Negative ones count from its end.
        """
        ref, artifact = self._opened(path)
        entry = artifact.entries.get(ref.path)
        if entry is None:
            raise FileNotFoundError(self._strip_protocol(path))
        place = f"{artifact.ref}/{ref.path}"
        if entry.reference is not None:
            place = followed(f"{artifact.ref}/{printable(ref.path)}", entry)
        files = list_files(place)
        (name,) = files.entries
        first, last, _step = slice(start, end).indices(files.size(name))
        return files.read(name, first, max(last - first, 0))

    def _open(self, path: str, mode: str = "rb", **options: Any) -> "WandbFile":
        if mode != "rb":
            raise NotImplementedError("wandb:// is read only; ckpt_wandb.upload writes an artifact")
        return WandbFile(self, path, mode, **options)

    def _opened(self, path: str) -> tuple[ArtifactRef, PinnedArtifact]:
        ref = parse(self._strip_protocol(path))
        if ref.qualified not in self._settled:
            self._settled[ref.qualified] = open_artifact(ref)
        return ref, self._settled[ref.qualified]


class WandbFile(AbstractBufferedFile):  # type: ignore[misc]
    """One file of an artifact, open for reading."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        data: bytes = self.fs.cat_file(self.path, start, end)
        return data


def followed(place: str, entry: Entry) -> str:
    """The URL that a reference entry leads to.

    Raises:
        UnsafeContentError: It leads to where none is followed.
    """
    target = entry.reference or ""
    if not target.startswith(FOLLOWED):
        scheme = target.partition("://")[0] if "://" in target else "a path"
        raise UnsafeContentError(
            f"{place}: a reference to {printable(scheme)}, which is not followed; get the file from where it is"
        )
    return target


def _named(name: str, start: str, inside: dict[str, Entry]) -> list[tuple[str, Entry]]:
    return [(f"{name}/{path[len(start) :]}", entry) for path, entry in inside.items()]


def _described(name: str, entry: Entry) -> dict[str, Any]:
    hashed = f"{entry.algorithm}:{entry.digest}" if entry.is_checked else ""
    return {"name": name, "size": _size(entry), "type": "file", "digest": entry.digest, "whole_sum": hashed}


def _size(entry: Entry) -> int | None:
    """Return the size that the manifest says.

    It says 0 of a reference without a checksum: then its target is asked.
    """
    if entry.reference is None or entry.is_marked or not entry.reference.startswith(FOLLOWED):
        return entry.size
    try:
        (target,) = list_files(entry.reference).entries.values()
    except (CkptError, ValueError):
        return None
    return target.size
