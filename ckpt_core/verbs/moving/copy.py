"""Copy: move a checkpoint's files to another place, checked.

The copy is named whole or not at all.

Nothing of a file is changed: what a layout is at one place it is at the other. A seal goes with what it is of; a
checkpoint that has none is sealed by what was read of it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ckpt_core import knobs
from ckpt_core.arguments import argument
from ckpt_core.errors import CorruptError, UsageError
from ckpt_core.manager.plugin_manager import CkptPluginManager
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.schema.findings import Severity
from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.side_files.seal_findings import UNLIKE_HINT
from ckpt_core.schema.side_files.seals import FileSeal, Seal
from ckpt_core.schema.tensors import Chunk
from ckpt_core.schema.text import printable, redact
from ckpt_core.storage.checking.checked_files import CheckedFiles
from ckpt_core.storage.copying.copied import Copied
from ckpt_core.storage.copying.to_disk import copy_to_disk, part_bytes
from ckpt_core.storage.copying.to_store import copy_to_store, requests_of
from ckpt_core.storage.copying.within_store import keys_within
from ckpt_core.storage.copying.work import CopyWork
from ckpt_core.storage.files.moments import one_moment
from ckpt_core.storage.objects.open_store import open_store
from ckpt_core.storage.objects.store import ObjectStore
from ckpt_core.storage.sealing import read_seal
from ckpt_core.storage.urls import local_path
from ckpt_core.storage.workers import check_stop, run, split
from ckpt_core.storage.writing.local_target import LocalTarget
from ckpt_core.storage.writing.overlap import refuse_overlap
from ckpt_core.storage.writing.publishing.aliases import check_aliases
from ckpt_core.storage.writing.publishing.publisher import is_published
from ckpt_core.storage.writing.publishing.target import PublishedTarget
from ckpt_core.storage.writing.staged_target import StagedTarget
from ckpt_core.storage.writing.targets import open_target
from ckpt_core.storage.writing.uploads.target import ObjectTarget
from ckpt_core.verbs.checked_arguments import checked
from ckpt_core.verbs.load import Place, find
from ckpt_core.verbs.moving.already_there import PLAN, copied_already
from ckpt_core.verbs.moving.selection import ChosenFiles, choose
from ckpt_core.verbs.reference import Destination, Reference, names_of, writable_of
from ckpt_core.version import __version__

if TYPE_CHECKING:
    from ckpt_core.schema.access import Progress

_MOVERS = 4
"""Threads where one end is a server: enough to hide its latency, with parts of 8 MiB in 32 MiB of memory."""


@dataclass(frozen=True, slots=True)
class CopyReport:
    """The outcome of a copy, done or planned.

    Attributes:
        source: Where from.
        destination: Where to.
        format: Name of the format of what was copied.
        files: Size in bytes of each file, by its path in the copy.
        left_out: Why each file of the source that was not copied was not.
        dry_run: Whether nothing was done.
        requests: How many requests moving it takes, by `source` and `destination`; none of a disk.
        memory: The most bytes of memory that moving takes, for the parts that are under way.
        moved: How many parts this run read and wrote.
        already_done: Whether it was there already, every byte as its seal says: nothing was done.
        kept: How many parts an earlier run had moved.
        shared: How many parts needed no moving: the disk shares them, or the store copied them itself.
        cached: How many parts came from the source's cache on this machine, and were proved anew.
        seal: `kept` for that of the source, `new`, or `of the part`; "" where nothing was done.
        checked: What the bytes were compared with.
        note: What is to be known of a part.
        published: What is to be known of the version that was made, at a place that publishes.
    """

    source: str
    destination: str
    format: str
    files: Mapping[str, int]
    left_out: Mapping[str, str] = field(default_factory=dict)
    dry_run: bool = False
    requests: Mapping[str, int] = field(default_factory=dict)
    memory: int = 0
    already_done: bool = False
    moved: int = 0
    kept: int = 0
    shared: int = 0
    cached: int = 0
    seal: str = ""
    checked: str = ""
    note: str = ""
    published: str = ""

    @property
    def nbytes(self) -> int:
        return sum(self.files.values())


@checked()
def copy(
    source: Reference,
    destination: Destination,
    *,
    hints: Mapping[str, object] | None = None,
    format: str | None = None,
    components: str | Iterable[str] = (),
    include: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
    dry_run: bool = False,
    force: bool = False,
    aliases: str | Iterable[str] = (),
    progress: "Progress | None" = None,
    storage_options: Mapping[str, Any] | None = None,
    manager: CkptPluginManager | None = None,
) -> CopyReport:
    """Copy a checkpoint's files, byte for byte, to another place.

    Args:
        source: See `load`; of several checkpoints one is named as `REF#member`.
        destination: A path or a URL that holds nothing.
        hints: See `load`.
        format: See `load`.
        components: Copy only the files of these, and those that their layout is opened by.
        include: Globs of the paths to copy, of their last parts or of folders; none for all.
        exclude: The same of what to leave out.
        dry_run: Say what would be done, and write nothing.
        force: Replace what is at the destination; it stays until the copy is whole.
        aliases: Names that are to mean the version that is made, where versions have some, as in `wandb://`.
        progress: Told of the bytes that are moved, then of those that are read back.
        storage_options: For the clients of s3://, gs:// and hf://, by their own names, such as `endpoint_url`; None for
            what their configuration says.
        manager: The plugin manager; None for the process's own.

    Raises:
        UsageError: It is several checkpoints, a component cannot be had by files alone, or there are no such aliases.
        CorruptError: The source is damaged, or what was written reads back otherwise; nothing was named.
        ReplacedError: The source changed meanwhile; nothing was named.
        OverwriteError: Something is at the destination and `force` is not set, or it is the source.
        LockedError: Another process is writing there.
        BudgetError: The disk is full.
    """
    place = writable_of(destination)
    check_aliases(place, names_of(aliases))
    found = find(source, hints=hints, format=format, manager=manager)
    checkpoint = found.open()
    _refuse_hidden_member(found, place)
    refuse_overlap(place, {found.files.location.url: "the source"})
    chosen = choose(
        found,
        checkpoint,
        components=names_of(components),
        include=names_of(include),
        exclude=names_of(exclude),
    )
    _refuse_broken(checkpoint, chosen)
    order = _Order(found, checkpoint, chosen, names_of(components), place, force, names_of(aliases), progress)
    return order.planned() if dry_run else order.carried_out()


@dataclass(frozen=True, slots=True)
class _Order:
    """The files that are copied, their destination, and the way."""

    found: Place
    checkpoint: StoredCheckpoint
    chosen: ChosenFiles
    components: tuple[str, ...]
    place: str
    force: bool
    aliases: tuple[str, ...]
    progress: "Progress | None"

    @property
    def files(self) -> CheckedFiles:
        files = self.found.files
        assert isinstance(files, CheckedFiles)
        return files

    @property
    def kind(self) -> LocationKind:
        return self.files.location.kind

    def planned(self) -> CopyReport:
        store = _store_of(self.place)
        work = self._work(part_bytes if store is None else store.part_bytes)
        within = None if store is None else keys_within(self.files, self.chosen.paths, store)
        asked = 0 if store is None else requests_of(work, within=within is not None)
        return replace(self._report(work, asked), dry_run=True)

    def carried_out(self) -> CopyReport:
        with one_moment(self.checkpoint, failures_only=True):
            sealed = read_seal(self.files)
            old = None if sealed is None else replace(sealed, id="", generation="", objects={})
            self.checkpoint.confirm()
        store = _store_of(self.place)
        work = self._work(part_bytes if store is None else store.part_bytes)
        expected = None if old is None or self.chosen.left_out else self._seal(old, work, old.files)
        if (
            not self.force
            and not is_published(self.place)
            and copied_already(self.place, work, expected, self.found.manager)
        ):
            return replace(self._report(work), already_done=True, seal=_how_sealed(old, self.chosen))
        with one_moment(self.checkpoint, failures_only=True):
            expect_items(self.checkpoint, self._workers())
        copied, published = self._moved(work, old)
        return replace(
            self._report(work),
            destination=published.get("url") or self._shown_place,
            published=str(published.get("note", "")),
            moved=copied.moved,
            kept=copied.kept,
            shared=copied.shared,
            cached=copied.cached,
            seal=_how_sealed(old, self.chosen),
            checked=work.checked_by(),
        )

    def _work(self, part_bytes: Callable[[int], int]) -> CopyWork:
        name = self.place.rstrip("/").rpartition("/")[2] if self.kind is LocationKind.FILE else None
        return CopyWork(self.files, self.chosen.paths, part_bytes, name)

    def _moved(self, work: CopyWork, old: Seal | None) -> tuple[Copied, Mapping[str, Any]]:
        with open_target(
            self.place, format=self.chosen.format, kind=self.kind, replace=self.force, resume=True
        ) as target:
            if isinstance(target, PublishedTarget):
                target.aliases = self.aliases
            with one_moment(self.checkpoint):
                copied = (
                    self._to_store(work, target) if isinstance(target, ObjectTarget) else self._to_disk(work, target)
                )
            target.commit(self._seal(old, work, work.seals(copied.blocks)))
        return copied, target.published if isinstance(target, PublishedTarget) else {}

    def _to_disk(self, work: CopyWork, target: StagedTarget) -> Copied:
        assert isinstance(target, LocalTarget)
        folder, journal = target.go_on(work.digest())
        return copy_to_disk(work, self.files, folder, journal, workers=self._workers(), progress=self.progress)

    def _to_store(self, work: CopyWork, target: StagedTarget) -> Copied:
        assert isinstance(target, ObjectTarget)
        folder = target.begin(work.digest(), [work.named(path) for path in work.paths])
        within = keys_within(self.files, work.paths, folder.store)
        copied, versions = copy_to_store(work, folder, workers=self._workers(), within=within, progress=self.progress)
        target.was_put(versions)
        return copied

    def _workers(self) -> int:
        return _MOVERS if self._is_far(self.files.location.url) or self._is_far(self.place) else knobs.workers()

    @property
    def _shown_place(self) -> str:
        return redact(self.place) if "://" in self.place else self.place

    @staticmethod
    def _is_far(place: str) -> bool:
        return local_path(place) is None

    def _report(self, work: CopyWork, asked: int = 0) -> CopyReport:
        longest = max((part.length for part in work.parts), default=0)
        return CopyReport(
            source=str(self.files.location),
            destination=self._shown_place,
            format=self.chosen.format,
            files={work.named(path): self.files.size(path) for path in work.paths},
            left_out=self.chosen.left_out,
            requests={
                "source": len(work.parts) if self._is_far(self.files.location.url) else 0,
                "destination": asked,
            },
            memory=longest * min(self._workers(), len(work.parts)),
            note=self.chosen.note,
        )

    def _seal(self, old: Seal | None, work: CopyWork, files: Mapping[str, FileSeal]) -> Seal:
        """Return the copy's seal.

        It is that of the source where the whole is copied, else one of what was read.
        """
        if old is not None and not self.chosen.left_out:
            _refuse_unlike(old, {path: files.get(work.named(path)) for path in old.files})
            return replace(old, files={work.named(path): own for path, own in old.files.items()})
        provenance: dict[str, Any] = {"ckpt_core": __version__, "sealed": "by a copy", PLAN: work.digest()}
        tainted = {**self.checkpoint.manifest.tainted, **(old.provenance.get("tainted", {}) if old is not None else {})}
        if tainted:
            provenance["tainted"] = tainted
        tensors = {label: old.tensors[label] for label in self.components if label in old.tensors} if old else {}
        digests = {label: old.components[label] for label in tensors if label in old.components} if old else {}
        return Seal(self.chosen.format, dict(files), tensors, digests, provenance=provenance)


def _store_of(place: str) -> ObjectStore | None:
    """Return the store that a place is in.

    None where it is on a disk, if only until it is published.
    """
    return None if local_path(place) is not None or is_published(place) else open_store(place)[0]


def expect_items(checkpoint: StoredCheckpoint, workers: int) -> None:
    """Register the checksums of files that lie inside other files.

    Such are the items of DCP.

    Each has to be looked at for that, which takes a request or two where it is far away.
    """
    tables = [component.tensors for component in checkpoint.manifest.components]
    entries = (table[name] for table in tables for name, info in table.infos() if info.path is None)
    items = [chunk for entry in entries for chunk in entry.chunks if chunk.encoding.name != "raw"]

    def look(share: list[Chunk]) -> None:
        for chunk in share:
            check_stop()
            checkpoint.find_chunk(chunk)

    run(look, split(items, [1] * len(items), workers))


def _refuse_unlike(sealed: Seal, made: Mapping[str, FileSeal | None]) -> None:
    """Refuse a file that contradicts its seal, with CorruptError.

    Parts that an earlier run moved were read before it.
    """
    for path, own in made.items():
        if own is not None and own != sealed.files[path]:
            message = f"{printable(path)}: is not what was sealed; nothing was committed"
            raise CorruptError(message, code="SL002", path=path, hint=UNLIKE_HINT)


def _how_sealed(old: Seal | None, chosen: ChosenFiles) -> str:
    if chosen.left_out:
        return "of the part"
    return "new" if old is None else "kept"


def _refuse_hidden_member(found: Place, place: str) -> None:
    """Refuse to turn a folder of one file into a file.

    It would have the folder's name: whoever wants that says so.
    """
    asked = found.resolution.location
    if asked is None or asked.member is not None or asked.kind is found.files.location.kind:
        return
    shown = found.files.location
    raise UsageError(
        f"{asked}: holds one checkpoint, which is a file; name that, and a file to copy it to: ckpt copy {shown} "
        f"{printable(place.rstrip('/'))}/{printable(shown.name)}"
    )


def _refuse_broken(checkpoint: StoredCheckpoint, chosen: ChosenFiles) -> None:
    """Refuse a checkpoint that cannot be read, with its first fault.

    It is not copied as if it could be read.
    """
    for finding in checkpoint.manifest.findings:
        if finding.severity is Severity.ERROR and (finding.path in chosen.paths or not chosen.left_out):
            leave = f", or leave it out with {argument('exclude', [finding.path])}" if finding.path else ""
            raise CorruptError(
                f"{checkpoint.location}: {finding.message}; nothing was copied",
                code=finding.code,
                path=finding.path,
                hint=f"run ckpt verify on it{leave}",
            )
