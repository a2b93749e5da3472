"""Listings and ranged reads of remote places, through fsspec.

Bytes come from the ranged reader (`storage/remote/ranges.py`) wherever it can ask for them, straight into the caller's
memory, and from the filesystem elsewhere. What a client has noted of a place before is not trusted: a file that came
since is found, one that went is not. What comes back is measured: an answer of another length than was asked is an
error. An object that is replaced while it is read is noticed by what its store says of versions. What goes wrong on the
way says nothing of the content.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ckpt_core import knobs
from ckpt_core.errors import (
    BudgetError,
    CheckpointNotFoundError,
    CkptError,
    NoAnswerError,
    ReplacedError,
)
from ckpt_core.schema.access import FileEntry
from ckpt_core.schema.locations import Location, LocationKind
from ckpt_core.schema.side_files.debris import debris
from ckpt_core.schema.side_files.reserved_names import DIRECTORY_SEAL, is_ours
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.schema.text import printable, redact
from ckpt_core.storage.files.base import ListedFiles, below_folder
from ckpt_core.storage.files.coalescing import batches, joined, parts_of
from ckpt_core.storage.files.committed import NOT_FINISHED, committed, refuse_unfinished
from ckpt_core.storage.files.range_checks import check_budget, check_range, gone
from ckpt_core.storage.remote.clients import quiet
from ckpt_core.storage.remote.failures import as_ckpt_error
from ckpt_core.storage.remote.filesystems import ask, open_filesystem
from ckpt_core.storage.remote.options import given_options, storage_options
from ckpt_core.storage.remote.pages import find, look
from ckpt_core.storage.remote.questions import Questions
from ckpt_core.storage.remote.ranges import RangeReader
from ckpt_core.storage.remote.signed import listed_object
from ckpt_core.storage.workers import StoppedError, in_worker, run

_CONTENTS = ("version", "ETag", "etag", "generation", "blob_id", "digest")
"""Under which names filesystems of fsspec tell in `info` which content of an object they speak of: the checked HTTP of
this package, s3fs, gcsfs, adlfs, huggingface_hub and W&B's artifacts."""

_TIMES = ("LastModified", "last_modified", "mtime", "modified", "created")
"""When it came, which tells contents apart where nothing else does, as of sftp and memory. Not beside the others: a
listing may say it otherwise than a question about one object, or not at all."""


class RemoteFiles(ListedFiles):
    """A listing of a URL.

    Args:
        location: The URL.
        filesystem: The fsspec filesystem that serves it.
        names: What the filesystem calls each listed path.
        entries: The listed files.
        skipped: What was left out.
        debris: What is no part of a checkpoint.
        found: What the filesystem says of each listed file.
        shared: What listings of one place have in common: what was read, and the connections.
        generations: See `Committed`.
        unfinished: Whether it is listed although it is not finished, by who writes it.
    """

    def __init__(
        self,
        location: Location,
        filesystem: Any,
        names: Mapping[str, str],
        entries: Mapping[str, FileEntry],
        *,
        skipped: Mapping[str, str] | None = None,
        debris: Mapping[str, str] | None = None,
        found: Mapping[str, Mapping[str, Any]] | None = None,
        shared: "_Shared | None" = None,
        generations: Mapping[str, str] | None = None,
        unfinished: bool = False,
    ) -> None:
        super().__init__(location, entries, skipped, debris)
        self._generations = generations or {}
        self._unfinished = unfinished
        self._filesystem = filesystem
        self._names = names
        self._found = found or {}
        self._shared = shared or _Shared()

    @property
    def generation(self) -> str:
        return self._generations.get("", "")

    def whole_sum(self, path: str) -> str:
        return str(self._found.get(path, {}).get("whole_sum") or "")

    def cached(self, path: str) -> str | None:
        return self._filesystem.cached(self._names[path]) if self._has_cache else None

    def keep(self, path: str, local: str) -> None:
        if self._has_cache:
            self._filesystem.keep(self._names[path], local)

    @property
    def _has_cache(self) -> bool:
        """Return whether the filesystem says that it keeps files on this machine."""
        return bool(getattr(self._filesystem, "caches", False))

    def read_into(self, path: str, offset: int, out: memoryview) -> None:
        check_range(path, offset, len(out), self.size(path))
        if len(out):
            self._shared.read.add(self._names[path])
        questions = self._questions(path)
        if questions is None:
            slab = 8 * knobs.slab_bytes()
            for start in range(0, len(out), slab):
                part = out[start : start + slab]
                (part[:],) = self._fetch([ByteRange(path, offset + start, len(part))])
            return
        with self._in_our_words(path):
            self._shared.reader.read_into(questions, offset, out)

    def read_many(self, ranges: Sequence[ByteRange]) -> Iterator[bytes]:
        for wanted in ranges:
            check_range(wanted.path, wanted.offset, wanted.length, self.size(wanted.path))
        for batch in batches(ranges):
            yield from self._read_batch(batch)

    def _read_batch(self, batch: Sequence[ByteRange]) -> list[bytes]:
        if any(wanted.length and self._questions(wanted.path) is None for wanted in batch):
            return self._fetch(batch)
        spans = joined(batch)
        buffers = [memoryview(bytearray(span.length)) for span in spans]
        numbers = list(range(len(spans)))
        shares = 1 if in_worker() else min(knobs.remote_connections(), len(spans))

        def read(share: list[int]) -> None:
            for number in share:
                self.read_into(spans[number].path, spans[number].offset, buffers[number])

        run(read, [numbers[first::shares] for first in range(shares)])
        return parts_of(batch, spans, buffers)

    def _questions(self, path: str) -> Questions | None:
        """Return the questions that read a file's ranges.

        None where only its filesystem can read it.
        """
        name = self._names[path]
        if name not in self._shared.questions:
            place = redact(f"{self.location.url.rstrip('/')}/{path}") if self._is_folder else redact(self.location.url)
            with quiet(), self._in_our_words(path):
                wanted = listed_object(self._filesystem, name, self._found[path], place)
            self._shared.questions[name] = None if wanted is None else Questions(wanted)
        return self._shared.questions[name]

    @property
    def _is_folder(self) -> bool:
        return self.location.kind is LocationKind.DIRECTORY

    @contextmanager
    def _in_our_words(self, path: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise gone(path) from None
        except (StoppedError, CkptError):
            raise
        except Exception as error:
            raise as_ckpt_error(error, self.location.url) from None

    def below(self, root: str) -> "RemoteFiles":
        if not root:
            return self
        folder = f"{root.rstrip('/')}/"
        is_file = root in self._entries
        cut = root.rfind("/") + 1 if is_file else len(folder)
        kept = [root] if is_file else [path for path in self._entries if path.startswith(folder)]
        inner = {} if is_file else below_folder(self._generations, folder)
        return RemoteFiles(
            Location(
                f"{self.location.url.rstrip('/')}/{root}", LocationKind.FILE if is_file else LocationKind.DIRECTORY
            ),
            self._filesystem,
            {path[cut:]: self._names[path] for path in kept},
            {path[cut:]: replace(self._entries[path], path=path[cut:]) for path in kept},
            skipped=below_folder(self._skipped, folder),
            debris=below_folder(self._debris, folder),
            found={path[cut:]: self._found[path] for path in kept if path in self._found},
            shared=self._shared,
            generations={"": self._generations[root], **inner} if root in self._generations else inner,
        )

    def check_unchanged(self, *, failed: bool = False, suspects: Iterable[str] = ()) -> None:
        self._shared.reader.close()
        if not self._is_folder and not failed and any(self._shared.questions.values()):
            return  # each answer was compared
        read = {path for path, name in self._names.items() if name in self._shared.read}
        if not read and not failed:
            return
        try:
            with storage_options(self._shared.options):
                now = list_remote(self.location.url, unfinished=self._unfinished)
        except CheckpointNotFoundError:
            raise _replaced(self.location.url, "removed") from None
        for path in sorted({*read, *suspects} & self._entries.keys()):
            if now.entries.get(path) != self._entries[path]:
                raise _replaced(path, "replaced" if path in now.entries else "removed")
        if failed and now.entries.keys() != self._entries.keys():
            raise _replaced(self.location.url, "changed")

    def beside(self, name: str) -> bytes | None:
        url, signed, _ = self.location.url.partition("?")
        if signed:
            return None  # a signature is for one name
        is_file = self.location.kind is LocationKind.FILE
        folder = url[: url.rindex("/") + 1] if is_file or url.endswith("/") else f"{url}/"
        within = "" if is_file or name == DIRECTORY_SEAL or not self.generation else f"{self.generation}/"
        with storage_options(self._shared.options):
            return _read_small(f"{folder}{within}{name}", name)

    def _fetch(self, ranges: Sequence[ByteRange]) -> list[bytes]:
        # Object stores take an empty range for an error.
        asked = [wanted for wanted in ranges if wanted.length]
        self._shared.read.update(self._names[wanted.path] for wanted in asked)
        try:
            answers = ask(
                self._filesystem,
                self._filesystem.cat_ranges,
                [self._names[wanted.path] for wanted in asked],
                [wanted.offset for wanted in asked],
                [wanted.end for wanted in asked],
                nbytes=sum(wanted.length for wanted in asked),
                on_error="raise",
            )
        except FileNotFoundError:
            raise gone(asked[0].path) from None
        except Exception as error:
            raise as_ckpt_error(error, self.location.url) from None
        for wanted, data in zip(asked, answers, strict=True):
            if len(data) != wanted.length:
                raise NoAnswerError(
                    f"{printable(wanted.path)}: the server sent {len(data)} bytes where {wanted.length} were asked; "
                    "try again, or download it first",
                    path=wanted.path,
                )
        left = iter(answers)
        return [next(left) if wanted.length else b"" for wanted in ranges]


class _Shared:
    """The common part of a listing and those below it.

    Files are in their client's words.
    """

    def __init__(self) -> None:
        self.reader = RangeReader()
        self.options = given_options()
        self.questions: dict[str, Questions | None] = {}
        self.read: set[str] = set()


def _replaced(place: str, what: str) -> ReplacedError:
    return ReplacedError(f"{redact(place)}: was {what} while it was read; run it again", code="MO001")


def facts_of(url: str) -> tuple[str, Mapping[str, Any]]:
    """Return the name and the facts of an object, by one question.

    As the filesystem of its URL has them. CheckpointNotFoundError where there is none.
    """
    filesystem, name = open_filesystem(url)
    try:
        filesystem.invalidate_cache()
        return name, ask(filesystem, filesystem.info, name)
    except Exception as error:
        raise as_ckpt_error(error, url) from None


def probe_remote(url: str) -> LocationKind | None:
    """Return the kind of thing at a URL; None for nothing.

    Raises:
        UnreachableError: It cannot be told.
        UnsupportedFormatError: Its scheme needs a package that is not installed.
    """
    try:
        _, _, found = _look(url)
    except CheckpointNotFoundError:
        return None
    return LocationKind.DIRECTORY if found["type"] == "directory" else LocationKind.FILE


def why_missing(url: str) -> tuple[str, str]:
    """Return why nothing is at a URL, and the next step.

    It is said where that is not the name's fault but its bucket's.
    """
    try:
        _look(url)
    except CheckpointNotFoundError as error:
        place, _, said = error.message.partition(": ")
        if place != redact(url):
            reason, _, step = said.partition("; ")
            return reason, step
    except CkptError:
        pass  # it was answered a moment ago, and that answer counts
    return "", ""


def list_remote(url: str, *, unfinished: bool = False) -> RemoteFiles:
    """List everything below a URL, or one file.

    Args:
        url: The place.
        unfinished: List a directory that was not committed all the same, for who writes it.

    Raises:
        CorruptError: WR001, it was not finished.
    """
    filesystem, name, found = _look(url, knobs.listing_limit())
    if found["type"] != "directory":
        location = Location(url, LocationKind.FILE)
        entry = _entry(location.name, found)
        return RemoteFiles(location, filesystem, {entry.path: name}, {entry.path: entry}, found={entry.path: found})
    try:
        below = found.get("below") or find(filesystem, name, knobs.listing_limit())
    except Exception as error:
        raise as_ckpt_error(error, url) from None
    if len(below) > knobs.listing_limit():
        raise BudgetError(f"{redact(url)}: more than {knobs.listing_limit()} files; name a directory further down")
    prefix = f"{name.rstrip('/')}/"
    names = {full[len(prefix) :]: full for full in sorted(below) if full.startswith(prefix) and full != prefix}
    chosen = committed(names, lambda path: _read_small(f"{url.rstrip('/')}/{path}", path))
    if not unfinished:
        refuse_unfinished(url, chosen)
    names = dict(sorted(chosen.names.items()))
    astray = [path for path in names if not {"", ".", ".."}.isdisjoint(path.split("/"))]
    skipped = dict.fromkeys(astray, "a name that no directory can hold, or that leads out of it")
    aside = {path: left_aside for path in names if path not in skipped and (left_aside := debris(path)) is not None}
    aside |= {
        path: (folder, NOT_FINISHED)
        for folder in chosen.unfinished
        if folder
        for path in names
        if _lies_in(path, folder)
    }
    left = skipped.keys() | aside.keys()
    kept = {path: full for path, full in names.items() if path not in left and not is_ours(path, names)}
    entries = {path: _entry(path, below[full]) for path, full in kept.items()}
    location = Location(url, LocationKind.DIRECTORY)
    known = {path: below[full] for path, full in kept.items()}
    return RemoteFiles(
        location,
        filesystem,
        names,
        entries,
        skipped=skipped,
        debris=dict(aside.values()),
        found=known,
        generations=chosen.generations,
        unfinished=unfinished,
    )


def _read_small(url: str, name: str) -> bytes | None:
    """All of a small file; None where there is none."""
    try:
        found = list_remote(url)
    except CheckpointNotFoundError:
        return None
    if found.location.kind is LocationKind.DIRECTORY:
        return None
    path = found.location.name
    check_budget(found.size(path), name)
    return found.read(path)


def _lies_in(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/")


def _look(url: str, most: int = 0) -> tuple[Any, str, Mapping[str, Any]]:
    """Return a URL's filesystem, its name there, and its facts.

    See `look`.
    """
    filesystem, name = open_filesystem(url)
    try:
        filesystem.invalidate_cache()
        return filesystem, name, look(filesystem, name, most)
    except Exception as error:
        raise as_ckpt_error(error, url) from None


def _entry(path: str, found: Mapping[str, Any]) -> FileEntry:
    size = found.get("size")
    if not isinstance(size, int):
        raise NoAnswerError(f"{printable(path)}: the server does not say how long it is; download it first")
    said = _said(found, _CONTENTS) or _said(found, _TIMES)
    return FileEntry(path, size, " ".join(said))


def _said(found: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    said = {name: found[name] for name in names if found.get(name) is not None}
    return [f"{name}={value.timestamp() if hasattr(value, 'timestamp') else value}" for name, value in said.items()]
