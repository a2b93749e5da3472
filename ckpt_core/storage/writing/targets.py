"""A place to write to: what may be written there is settled first, then staged, then committed under a lock."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import xxhash

from ckpt_core.errors import (
    CorruptError,
    FormatError,
    OverwriteError,
    ReplacedError,
    UnsupportedFormatError,
    UsageError,
)
from ckpt_core.schema.access import Checkpoint, Target
from ckpt_core.schema.locations import Kind, Location
from ckpt_core.schema.manifests import Manifest
from ckpt_core.schema.plans import AssetBytes, LateBytes, Literal, TensorBytes, TensorKey, WritePlan, Written
from ckpt_core.schema.progress import Progress
from ckpt_core.schema.side_files.own_names import BLOCKS, DIRECTORY_SEAL, FILE_SUFFIX
from ckpt_core.schema.side_files.seals import Seal, pack
from ckpt_core.schema.side_files.taint import marked
from ckpt_core.schema.text import printable, redact
from ckpt_core.storage.files.moments import one_moment
from ckpt_core.storage.files.urls import local_path, scheme_of
from ckpt_core.storage.ranks.ranks import ALONE, Ranks
from ckpt_core.storage.writing import syscalls
from ckpt_core.storage.writing.commit import name_directory, name_file, settle
from ckpt_core.storage.writing.execute import execute
from ckpt_core.storage.writing.journal import begin, belongs, forget
from ckpt_core.storage.writing.staging import Stage, hold, tidied


class LocalTarget(Target):
    """A destination on this machine, staged beside it.

    Attributes:
        kind: Whether the format makes a directory or a file.
        written: What was seen of each tensor by `write`.
        planned: The plan that `write` carried out.
        work: The digest of plan and source, by which a rerun knows that it was done; empty where it cannot know.
    """

    def __init__(
        self,
        location: Location,
        stage: Stage,
        *,
        format: str,
        options: Mapping[str, Any],
        replace: bool = False,
        resume: bool = False,
        ranks: Ranks = ALONE,
    ) -> None:
        self.location = location
        self.format = format
        self.options = options
        self.written: dict[TensorKey, Written] = {}
        self.planned: WritePlan | None = None
        self.work = ""
        self._stage = stage
        self._replace = replace
        self._resume = resume
        self._ranks = ranks
        self._named = False
        self._progress: Progress | None = None

    @property
    def staged(self) -> str:
        """The path of what is staged: the file or directory that will have the destination's name."""
        return os.path.join(self._stage.data, self._stage.name) if self.location.kind is Kind.FILE else self._stage.data

    def watch(self, progress: Progress) -> None:
        """Tell `progress` of the bytes that `write` writes."""
        self._progress = progress

    def write(self, plan: WritePlan, checkpoint: Checkpoint) -> Manifest:
        if self.location.kind is Kind.DIRECTORY:
            plan = marked(plan, checkpoint)
        digest = digest_of_plan(plan, checkpoint) if self._resume or self._ranks.world > 1 else ""
        self.work = digest if self._resume and checkpoint.identity() else ""
        self._agree(digest)
        if self._resume and self._ranks.leads:
            self._begin_or_go_on(digest, known=bool(checkpoint.identity()))
        journal = self._stage.journal if self._resume else None
        with one_moment(checkpoint):
            self.written = execute(
                plan, checkpoint, self._stage.data, journal=journal, progress=self._progress, ranks=self._ranks
            )
            checkpoint.finish()
        self.planned = plan
        return checkpoint.manifest

    def _agree(self, digest: str) -> None:
        """CorruptError where another rank would write something else: then it reads something else too."""
        for rank, other in enumerate(self._ranks.exchange(digest)):
            if other != digest:
                raise CorruptError(
                    f"{self.location}: rank {rank} and rank {self._ranks.rank} have different sources or plans; "
                    "give every rank the same command, files and version of ckpt; nothing was committed"
                )

    def commit(self, seal: Seal | None) -> None:
        """Write the seal, if any, and name what is staged; of several ranks the first does, and the others wait."""
        if self._ranks.leads:
            self._commit(seal)
        self._ranks.exchange(None)

    def _commit(self, seal: Seal | None) -> None:
        one_file = self.location.kind is Kind.FILE
        if seal is not None:
            self._write_seal(seal, one_file)
        # What has its name is no stage to go on with: killed after the rename, the next run begins anew.
        syscalls.remove(self._stage.journal)
        name = name_file if one_file else name_directory
        name(self._stage, replace=self._replace)
        self._named = True
        settle(self._stage, seal=one_file and seal is not None)

    def _write_seal(self, seal: Seal, one_file: bool) -> None:
        text, blocks = pack(seal, apart=not one_file)
        if one_file:
            _write_anew(self.staged + FILE_SUFFIX, text)
            return
        _write_anew(os.path.join(self._stage.data, BLOCKS), blocks)
        _write_anew(os.path.join(self._stage.data, DIRECTORY_SEAL), text)

    def drop(self, *, entirely: bool = False) -> None:
        """Remove the stage; not where work can go on from it, unless `entirely`, and not once it was given its name."""
        if self._ranks.leads and not self._named and (entirely or not os.path.lexists(self._stage.journal)):
            self._stage.clear()

    def _begin_or_go_on(self, digest: str, *, known: bool) -> None:
        """Go on with a stage of the same work; empty one of another, or of a source that cannot be told again."""
        if known and belongs(self._stage.journal, digest):
            return
        forget(self._stage.journal)
        syscalls.sync_directory(self._stage.root)
        syscalls.remove_tree(self._stage.data)
        syscalls.make_directory(self._stage.data)
        begin(self._stage.journal, digest)


@contextmanager
def open_target(
    ref: str,
    *,
    format: str,
    kind: Kind,
    options: Mapping[str, Any] | None = None,
    replace: bool = False,
    resume: bool = False,
    ranks: Ranks = ALONE,
) -> Iterator[LocalTarget]:
    """A staged destination, locked for the block; what was not committed by its end is removed.

    Args:
        ref: The destination.
        format: Name of the format.
        kind: Whether that format makes a file or a directory.
        options: The format's options.
        replace: Whether what is there now may be replaced.
        resume: Keep a journal, so that the same work can go on after a stop.
        ranks: The processes that write it together, all of which call this; rank 0 holds the lock and the stage.

    Raises:
        OverwriteError: Something is there, and `replace` is not set.
        LockedError: Another process is writing there.
        UnsupportedFormatError: The destination is not on a local disk or mount.
    """
    path = local_path(ref)
    if path is None:
        if scheme_of(ref) != "memory" or ranks.world > 1:
            raise UnsupportedFormatError(f"{redact(ref)}: writing there is not supported yet; write to a local path")
        from ckpt_core.storage.writing.memory_target import open_memory_target

        with open_memory_target(ref, format=format, kind=kind, options=options, replace=replace) as target:
            yield target
        return
    if not ranks.leads:
        yield _joined_target(kind, ranks, format=format, options=options or {}, resume=resume)
        return
    parent, name = _settled(path)
    path = os.path.join(parent, name)
    _refuse_existing(path, kind, replace)
    with hold(parent, name, "convert" if resume else f"save-{os.getpid()}") as stage:
        location = Location(path, kind)
        target = LocalTarget(
            location, stage, format=format, options=options or {}, replace=replace, resume=resume, ranks=ranks
        )
        try:
            _refuse_existing(path, kind, replace)  # again, with the lock: another writer may just have ended
            ranks.exchange([parent, name, stage.id, _number_of(stage.root)])
            yield target
        except (FormatError, ReplacedError):
            target.drop(entirely=True)  # going on from it would end here again
            raise
        finally:
            target.drop()


def _joined_target(kind: Kind, ranks: Ranks, *, format: str, options: Mapping[str, Any], resume: bool) -> LocalTarget:
    """The stage that rank 0 has made, for another rank."""
    parent, name, id, number = ranks.from_leader(None)
    stage = Stage(parent, name, id)
    if _number_of(stage.root) != number:
        raise UsageError(
            f"{printable(stage.destination)}: rank {ranks.rank} does not see what rank 0 has made there; "
            "give a place on a filesystem that all ranks share"
        )
    location = Location(stage.destination, kind)
    return LocalTarget(location, stage, format=format, options=options, resume=resume, ranks=ranks)


def _number_of(folder: str) -> int | None:
    """The number by which a filesystem knows a folder; None where there is none."""
    try:
        return os.stat(folder).st_ino
    except OSError:
        return None


def refuse_overlap(ref: str, inputs: Mapping[str, str]) -> None:
    """Refuse a destination that is an input, lies in one, or holds one, by whatever links it is reached.

    Args:
        ref: The destination.
        inputs: Local paths that must not be written, each with what it is.

    Raises:
        OverwriteError: It does.
    """
    path = local_path(ref)
    if path is None:
        return
    target = _with_parents(path)
    for place, what in inputs.items():
        source = _with_parents(place)
        if target[0] in source or source[0] in target:
            raise OverwriteError(f"{printable(ref)}: would overwrite {what} ({printable(place)}); choose another place")


def _with_parents(path: str) -> list[object]:
    """What a path leads to, and each folder above: by device and number where it exists, else by its name."""
    places: list[object] = []
    real = os.path.realpath(path)
    while True:
        try:
            found = os.stat(real)
            places.append((found.st_dev, found.st_ino))
        except OSError:
            places.append(real)
        above = os.path.dirname(real)
        if above == real:
            return places
        real = above


def digest_of_work(plan: WritePlan, checkpoint: Checkpoint, kind: Kind) -> str:
    """The `work` of a target that is to write a plan; empty where the source cannot be told again."""
    if not checkpoint.identity():
        return ""
    return digest_of_plan(marked(plan, checkpoint) if kind is Kind.DIRECTORY else plan, checkpoint)


@contextmanager
def swept(path: str) -> Iterator[None]:
    """What is at a local path, locked for the block, what killed writers began there ended and swept.

    Raises:
        LockedError: Another process is writing there.
        CkptError: The folder that it is in may not be written to.
    """
    with tidied(*_settled(path)):
        yield


def digest_of_plan(plan: WritePlan, checkpoint: Checkpoint) -> str:
    """A digest that is the same for the same work: the same files from the same source."""
    digest = xxhash.xxh3_128(checkpoint.identity().encode("utf-8", "surrogatepass"))
    for file in plan.files:
        digest.update(f"\n{file.path} {file.checksums}".encode("utf-8", "surrogatepass"))
        for section in file.sections:
            digest.update(_describe(section))
            if isinstance(section, TensorBytes):  # renamed in a circle, tensors of one size make the same plan
                digest.update(_lineage(checkpoint, section.key).encode("utf-8", "surrogatepass"))
    return str(digest.hexdigest())


def _lineage(checkpoint: Checkpoint, key: TensorKey) -> str:
    """Which tensor a tensor is made of, and how: not all of it shows in the plan."""
    return "\0".join((*checkpoint.origin_key(*key), *checkpoint.operations(*key)))


def _describe(section: Literal | TensorBytes | LateBytes | AssetBytes) -> bytes:
    match section:
        case Literal():
            return b"\n=" + section.data
        case TensorBytes():
            text = f"\ntensor {section.component} {section.name} {section.length} {section.box or ''}"
        case LateBytes():
            text = f"\nlate {section.length}"
        case AssetBytes():
            text = f"\nasset {section.path} {section.length}"
    return text.encode("utf-8", "surrogatepass")


def _settled(path: str) -> tuple[str, str]:
    """Parent and name of a destination, its links followed: what is at the end of them is what is written."""
    parent, name = os.path.split(os.path.realpath(path))
    if not path or not name:
        raise UsageError(f"{printable(path) or 'an empty name'}: not a place to write to; name a file or directory")
    _make_parents(parent)
    return parent, name


def _make_parents(folder: str) -> None:
    """Make a folder and those above it that are missing, each durable."""
    if os.path.isdir(folder):
        return
    above = os.path.dirname(folder)
    _make_parents(above)
    syscalls.make_directory(folder)
    syscalls.sync_directory(above)


def _refuse_existing(path: str, kind: Kind, replace: bool) -> None:
    if not os.path.lexists(path):
        return
    is_directory = os.path.isdir(path)
    if is_directory != (kind is Kind.DIRECTORY):
        there = "directory" if is_directory else "file"
        raise OverwriteError(
            f"{printable(path)}: is a {there}, and a {kind.value} is to be written; choose another place"
        )
    empty = is_directory and not os.listdir(path)
    if not empty and not replace:
        raise OverwriteError(f"{printable(path)}: exists; choose another place, or --force to replace it")


def _write_anew(path: str, data: bytes) -> None:
    syscalls.remove(path)
    syscalls.write_file(path, data)
