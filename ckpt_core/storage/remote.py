"""Listings and ranged reads of every place that is not a local disk, through fsspec.

Requests have a deadline, and what comes back is measured: an answer of another length than was asked is an error.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ckpt_core import knobs
from ckpt_core.errors import (
    BudgetError,
    CheckpointNotFoundError,
    CkptError,
    CorruptError,
    UnreachableError,
    UnsupportedFormatError,
)
from ckpt_core.schema.access import HEAD_BYTES, FileEntry, Files
from ckpt_core.schema.locations import Kind, Location
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.schema.text import printable, redact
from ckpt_core.storage.local import ends_early
from ckpt_core.storage.urls import scheme_of

_READ_TOGETHER = 32
"""Ranges asked for at once: enough to hide latency, few enough to bound what is held in memory."""

_EXTRAS = {"s3": "s3", "gs": "gcs", "gcs": "gcs", "http": "http", "https": "http"}
_PLUGINS = {"hf": "ckpt-hf", "wandb": "ckpt-wandb", "openbayes": "ckpt-minillm"}


class RemoteFiles(Files):
    """A listing of a URL. `names` maps listed paths to what the filesystem calls them."""

    def __init__(
        self, location: Location, filesystem: Any, names: Mapping[str, str], entries: Mapping[str, FileEntry]
    ) -> None:
        self.location = location
        self._filesystem = filesystem
        self._names = names
        self._entries = entries
        self._heads: dict[str, bytes] = {}

    @property
    def entries(self) -> Mapping[str, FileEntry]:
        return self._entries

    @property
    def skipped(self) -> Mapping[str, str]:
        return {}

    def size(self, path: str) -> int:
        return self._entries[self._listed(path)].size

    def head(self, path: str) -> bytes:
        if path not in self._heads:
            self._heads[path] = self.read(path, 0, min(self.size(path), HEAD_BYTES))
        return self._heads[path]

    def read_into(self, path: str, offset: int, out: memoryview) -> None:
        slab = 8 * knobs.slab_bytes()
        for start in range(0, len(out), slab):
            part = out[start : start + slab]
            part[:] = self._fetch(path, offset + start, len(part))

    def read_many(self, ranges: Sequence[ByteRange]) -> Iterator[bytes]:
        for start in range(0, len(ranges), _READ_TOGETHER):
            asked = [wanted for wanted in ranges[start : start + _READ_TOGETHER]]
            names = [self._names[self._listed(wanted.path)] for wanted in asked]
            try:
                answers = self._filesystem.cat_ranges(
                    names, [w.offset for w in asked], [w.end for w in asked], on_error="raise"
                )
            except Exception as error:
                raise as_ckpt_error(error, self.location.url) from None
            for wanted, data in zip(asked, answers, strict=True):
                yield _checked(wanted.path, wanted.offset, wanted.length, data)

    def below(self, root: str) -> "RemoteFiles":
        if not root:
            return self
        prefix = root.rstrip("/") + "/"
        kind = Kind.DIRECTORY
        if root in self._entries:
            prefix, kind = root[: root.rfind("/") + 1], Kind.FILE
        kept = [path for path in self._entries if path == root or path.startswith(root.rstrip("/") + "/")]
        return RemoteFiles(
            Location(f"{self.location.url.rstrip('/')}/{root}", kind),
            self._filesystem,
            {path[len(prefix) :]: self._names[path] for path in kept},
            {path[len(prefix) :]: FileEntry(path[len(prefix) :], self._entries[path].size) for path in kept},
        )

    def _listed(self, path: str) -> str:
        if path not in self._entries:
            raise CorruptError(f"{printable(path)}: no such file in the checkpoint", code="CK005", path=path)
        return path

    def _fetch(self, path: str, offset: int, length: int) -> bytes:
        if not length:
            return b""
        name = self._names[self._listed(path)]
        try:
            data = self._filesystem.cat_file(name, start=offset, end=offset + length)
        except Exception as error:
            raise as_ckpt_error(error, f"{self.location}") from None
        return _checked(path, offset, length, data)


def probe_remote(url: str) -> Kind | None:
    """What is at a URL; None for nothing. UnreachableError where that cannot be told."""
    filesystem, name = _open(url)
    try:
        found = filesystem.info(name)
    except FileNotFoundError as error:
        failure = _web_failure(error, url)
        if failure is not None:
            raise as_ckpt_error(failure, url) from None
        return None
    except Exception as error:
        raise as_ckpt_error(error, url) from None
    return Kind.DIRECTORY if found["type"] == "directory" else Kind.FILE


def list_remote(url: str) -> RemoteFiles:
    """The listing of a URL: of everything below a directory, or of one file."""
    filesystem, name = _open(url)
    try:
        found = filesystem.info(name)
        if found["type"] != "directory":
            short = name.rstrip("/").rpartition("/")[2].partition("?")[0]
            return RemoteFiles(
                Location(url, Kind.FILE), filesystem, {short: name}, {short: _entry(short, found)}
            )
        below = filesystem.find(name, detail=True)
    except FileNotFoundError as error:
        failure = _web_failure(error, url)
        if failure is not None:
            raise as_ckpt_error(failure, url) from None
        raise CheckpointNotFoundError(f"{redact(url)}: nothing there; check the name") from None
    except CkptError:
        raise
    except Exception as error:
        raise as_ckpt_error(error, url) from None
    if len(below) > knobs.listing_limit():
        raise BudgetError(f"{redact(url)}: more than {knobs.listing_limit()} files; name a directory further down")
    prefix = name.rstrip("/") + "/"
    names = {full[len(prefix) :]: full for full in sorted(below) if full.startswith(prefix)}
    entries = {path: _entry(path, below[full]) for path, full in names.items()}
    return RemoteFiles(Location(url, Kind.DIRECTORY), filesystem, names, entries)


def _web_failure(error: FileNotFoundError, url: str) -> Exception | None:
    """What a web server failed with, unless it says that nothing is there: fsspec calls all of it "not found"."""
    cause = error.__cause__
    if scheme_of(url) not in ("http", "https") or not isinstance(cause, Exception):
        return None
    return None if getattr(cause, "status", 0) in (404, 410) else cause


def as_ckpt_error(error: Exception, place: str) -> CkptError:
    """What a filesystem raised, in our words; its own text may hold tokens and is not repeated."""
    shown = redact(place)
    if isinstance(error, CkptError):
        return error
    if isinstance(error, FileNotFoundError):
        return CheckpointNotFoundError(f"{shown}: nothing there; check the name")
    kind = type(error).__name__
    status = getattr(error, "status", None)
    if isinstance(error, PermissionError) or status in (401, 403) or kind == "NoCredentialsError":
        return UnreachableError(f"{shown}: access denied ({kind}); check the credentials")
    detail = f"{kind}, HTTP {status}" if status else kind
    return UnreachableError(f"{shown}: did not answer as it should ({detail}); check the connection and try again")


def _open(url: str) -> tuple[Any, str]:
    scheme = scheme_of(url)
    assert scheme is not None
    from fsspec.core import url_to_fs

    options: dict[str, Any] = {}
    if scheme in ("http", "https"):
        options = _http_options()
    try:
        filesystem, name = url_to_fs(url, **options)
    except (ImportError, ValueError) as error:
        raise _missing(scheme, url) from error
    except Exception as error:
        raise as_ckpt_error(error, url) from None
    return filesystem, name


def _http_options() -> dict[str, Any]:
    try:
        from aiohttp import ClientTimeout
    except ImportError as error:
        raise _missing("https", "https://") from error
    seconds = knobs.remote_timeout()
    return {"client_kwargs": {"timeout": ClientTimeout(total=seconds, sock_read=seconds)}}


def _missing(scheme: str, url: str) -> UnsupportedFormatError:
    package = _PLUGINS.get(scheme) or f"ckpt-core[{_EXTRAS.get(scheme, 'all')}]"
    return UnsupportedFormatError(
        f"{redact(url)}: reading {scheme}:// needs a package that is not installed; run pip install '{package}'"
    )


def _entry(path: str, found: Mapping[str, Any]) -> FileEntry:
    size = found.get("size")
    if not isinstance(size, int):
        raise UnreachableError(f"{printable(path)}: the server does not say how long it is; download it first")
    return FileEntry(path, size)


def _checked(path: str, offset: int, length: int, data: bytes) -> bytes:
    if len(data) < length:
        raise ends_early(path, offset + length, offset + len(data))
    if len(data) > length:
        raise UnreachableError(
            f"{printable(path)}: the server sent {len(data)} bytes where {length} were asked (no range support?); "
            "download it first"
        )
    return data
