"""Save: write a checkpoint, or tensors, in a format.

It is proved by reading it back, sealed, and committed.

What was written is opened through its format's own reader before it gets its name: every tensor must be there, equal to
what was read, or to the stated cast of it. Until then the destination is what it was.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ckpt_core.arguments import argument
from ckpt_core.codecs.gc_pause import without_collection
from ckpt_core.errors import PluginError, UnsupportedFormatError, UsageError
from ckpt_core.layouts.in_memory import LiveCheckpoint, checkpoint_of
from ckpt_core.layouts.joined import joined
from ckpt_core.manager.options import checked_options
from ckpt_core.manager.plugin_manager import CkptPluginManager, get_plugin_manager
from ckpt_core.reading.as_written import as_written
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.reading.read_back import ReadBack, read_back
from ckpt_core.schema.access import Checkpoint
from ckpt_core.schema.formats import Confidence, FormatMatch, LoadRequest
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.plans import WritePlan
from ckpt_core.schema.side_files.seals import COPY, Certificate, Seal
from ckpt_core.schema.side_files.taint import carried
from ckpt_core.schema.state import differing_paths
from ckpt_core.schema.text import printable
from ckpt_core.storage.ranks.agreement import agree_on
from ckpt_core.storage.ranks.pieces import PiecedCheckpoint
from ckpt_core.storage.ranks.ranks import ALONE, Ranks
from ckpt_core.storage.ranks.torchrun import torchrun_ranks
from ckpt_core.storage.writing.publishing.target import PublishedTarget
from ckpt_core.storage.writing.staged_target import StagedTarget
from ckpt_core.storage.writing.targets import open_target
from ckpt_core.verbs.checked_arguments import checked
from ckpt_core.verbs.reference import Destination, writable_of
from ckpt_core.verbs.saving.by_ranks import prove_pieces
from ckpt_core.verbs.saving.proof import prove
from ckpt_core.version import __version__

if TYPE_CHECKING:
    from ckpt_core.schema.access import Progress


@dataclass(frozen=True, slots=True)
class SaveReport:
    """The record of what a save wrote.

    Attributes:
        location: Where.
        format: In which format.
        files: Size in bytes of each file, by path.
        tensors: How many tensors were written and proved.
        cast: How many of them were cast.
        restated: What of a config was changed to fit them: `config.dtype`.
        components: Digest of each component.
        checked: What was compared with what was read: `source_checked`, `base_checked`, `lora_checked`.
        tainted: Why a tensor is not what was saved, by `component/name`; see `taint`.
        published: What is to be known of the version that was made, at a place that publishes.
    """

    location: str
    format: str
    files: Mapping[str, int] = field(default_factory=dict)
    tensors: int = 0
    cast: int = 0
    restated: tuple[str, ...] = ()
    components: Mapping[str, str] = field(default_factory=dict)
    checked: Mapping[str, str] = field(default_factory=dict)
    tainted: Mapping[str, str] = field(default_factory=dict)
    published: str = ""

    @property
    def nbytes(self) -> int:
        return sum(self.files.values())


@checked()
def save(
    state: "Checkpoint | Mapping[str, Any]",
    ref: Destination,
    *,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
    force: bool = False,
    resume: bool = False,
    provenance: Mapping[str, Any] | None = None,
    progress: "Progress | None" = None,
    ranks: Ranks = ALONE,
    storage_options: Mapping[str, Any] | None = None,
    manager: CkptPluginManager | None = None,
) -> SaveReport:
    """Write a checkpoint, whole or not at all.

    Args:
        state: A checkpoint, or a tree of dicts with torch tensors or numpy arrays: a model's state dict, or
            `{"model": …, "optimizer": …, "step": …}`.
        ref: Where to: a path, or a URL of a store (`s3://`, `gs://`).
        format: Name of the format; None to take it from the path's suffix (`.safetensors`, `.pt`, `.pth`, `.bin`).
        options: The format's own options.
        force: Replace what is there; it stays until the new content is committed.
        resume: Keep a journal, so that the same call goes on after a stop where it was.
        provenance: Plain values to record in the seal.
        progress: Told of the bytes written, then of those that are read back.
        ranks: The processes that write it together, all of which call this: of a checkpoint each does its share of the
            work, of a tree of tensors each writes what it holds. Where a tensor is spread over ranks (DTensor), those
            of torchrun are taken without being given.
        storage_options: For the clients of s3://, gs:// and hf://, by their own names, such as `endpoint_url`; None for
            what their configuration says.
        manager: The plugin manager; None for the process's own.

    Raises:
        OverwriteError: Something is there, and `force` is not set.
        LockedError: Another process is writing there.
        UnsupportedFormatError: The format is not known, does not write, or cannot hold this; or nothing can be written
            to such a URL.
        BudgetError: The disk is full.
        CorruptError: What was written is not what was read; it was not committed.
        ReplacedError: What it is made of was replaced, changed or removed meanwhile; it was not committed.
    """
    if not isinstance(state, Checkpoint | Mapping):
        raise UsageError(f"{argument('state')}: a checkpoint or a state dict is needed, not a {type(state).__name__}")
    place = writable_of(ref, "ref")
    manager = manager or get_plugin_manager()
    name = format or format_of_path(place)
    kind = manager.format(name).writes
    if kind is None:
        writable = ", ".join(known.name for known in manager.formats() if known.writes)
        raise UnsupportedFormatError(f"{name}: this format cannot be written; those that can are {writable}")
    chosen = checked_options(manager, name, options or {}, writing=True)
    checkpoint = state if isinstance(state, Checkpoint) else _live(state)
    known = provenance or {}
    with without_collection(), _met(checkpoint, ranks) as together:
        saved = _together(checkpoint, together, place, name, {**known, "options": chosen, "force": force})
        with open_target(
            place, format=name, kind=kind, options=chosen, replace=force, resume=resume, ranks=together
        ) as target:
            if progress is not None:
                target.watch(progress)
            if manager.hooks.save(checkpoint=saved, target=target) is None or target.planned is None:
                raise PluginError(f"{name}: the format's owner did not write; see ckpt plugins")
            if isinstance(saved, PiecedCheckpoint):
                return _commit_pieces(manager, saved, target, known, together)
            staged = reopen(manager, target)
            found = _seen(staged, saved, target) or _read(staged, progress, together)
            wanted = [_restated(component, target.planned) for component in saved.manifest.components]
            prove(wanted, target.written, staged, found)
            changed = _changed(saved, wanted)
            seal = _seal(saved, target, found, {**known, **({"restated": changed} if changed else {})})
            saved.check_unchanged()
            target.commit(seal)
    said = target.published.get("note", "") if isinstance(target, PublishedTarget) else ""
    return replace(report_of(str(target.location), seal, found), published=said)


@contextmanager
def _met(checkpoint: Checkpoint, ranks: Ranks) -> Iterator[Ranks]:
    """Yield the ranks that write together.

    They are those of torchrun where a tensor is spread over them and nobody gave any.

    Raises:
        UsageError: A tensor is spread over ranks that are not known here.
    """
    spread = isinstance(checkpoint, LiveCheckpoint) and checkpoint.is_spread
    if not spread or ranks.world > 1:
        yield ranks
        return
    with torchrun_ranks() as met:
        if met.world == 1:
            raise UsageError(
                f"{argument('state')}: tensors of it are spread over ranks; start all of them with torchrun, and call "
                "this at each"
            )
        yield met


def _together(checkpoint: Checkpoint, ranks: Ranks, place: str, format: str, about: Mapping[str, Any]) -> Checkpoint:
    """Return the checkpoint of all ranks.

    Raises:
        UsageError: The ranks were asked for different things.
    """
    if ranks.world == 1 or not isinstance(checkpoint, LiveCheckpoint):
        return checkpoint
    agree_on(ranks, {"ckpt": __version__, "place": place, "format": format, **about})
    return joined(checkpoint, ranks)


def _commit_pieces(
    manager: CkptPluginManager,
    checkpoint: PiecedCheckpoint,
    target: StagedTarget,
    provenance: Mapping[str, Any],
    ranks: Ranks,
) -> SaveReport:
    """Prove, seal and commit at rank 0 what all have written.

    Every rank returns the report.
    """
    seal, report = None, None
    if ranks.leads:
        found = prove_pieces(reopen(manager, target), checkpoint, target)
        seal = _seal(checkpoint, target, found, {**provenance, "ranks": ranks.world})
        report = replace(
            report_of(str(target.location), seal, found),
            tensors=sum(len(component.tensors) for component in checkpoint.manifest.components),
        )
    target.commit(seal)
    said = ranks.from_leader(None if report is None else asdict(report))
    return SaveReport(**{**said, "restated": tuple(said["restated"])})


def _seen(staged: StoredCheckpoint, checkpoint: Checkpoint, target: StagedTarget) -> ReadBack | None:
    """Return the digests of the pass that wrote, as read back.

    None where the format's reader does not find all of it in its place.
    """
    if target.digested is None or target.planned is None:
        return None
    return as_written(staged, checkpoint, target.planned, target.written, target.digested)


def _read(staged: StoredCheckpoint, progress: "Progress | None", ranks: Ranks) -> ReadBack:
    if progress is not None:
        progress.begin(sum(entry.size for entry in staged.files.entries.values()))
        staged.progress = progress
    return read_back(staged, ranks=ranks)


def report_of(location: str, seal: Seal, found: ReadBack) -> SaveReport:
    """Return the report of what was written and read back."""
    said = seal.provenance
    return SaveReport(
        location=location,
        format=seal.format,
        files={path: file.size for path, file in sorted(found.files.items())},
        tensors=len(found.tensors),
        cast=sum("cast " in certificate.operation for certificate in seal.certificates.values()),
        restated=tuple(said.get("restated", ())),
        components=seal.components,
        checked={key: text for key, text in said.items() if key.endswith("_checked")},
        tainted=said.get("tainted", {}),
    )


def format_of_path(ref: str) -> str:
    """Return the format that a path's suffix stands for.

    UsageError where it stands for none.
    """
    suffixes = {".safetensors": "safetensors", ".pt": "torch", ".pth": "torch", ".bin": "torch", ".ckpt": "torch"}
    for suffix, name in suffixes.items():
        if ref.lower().endswith(suffix):
            return name
    raise UsageError(f"{printable(ref)}: the name does not tell the format; give one")


def _restated(component: Component, plan: WritePlan) -> Component:
    """Return a component with the state that its files will have.

    Another state is for configs alone.
    """
    if component.kind != "config" or component.label not in plan.restated:
        return component
    return replace(component, state=plan.restated[component.label])


def _changed(checkpoint: Checkpoint, wanted: Sequence[Component]) -> tuple[str, ...]:
    pairs = [pair for pair in zip(checkpoint.manifest.components, wanted, strict=True) if pair[0] is not pair[1]]
    return tuple(path for own, new in pairs for path in differing_paths(own.state, new.state, own.label))


def reopen(manager: CkptPluginManager, target: StagedTarget) -> StoredCheckpoint:
    """Open the staged files by the reader of their format."""
    files = target.listing()
    match = FormatMatch(target.format, Confidence.CERTAIN, "just written")
    staged = manager.hooks.load(files=files, match=match, request=LoadRequest())
    if not isinstance(staged, StoredCheckpoint):
        raise PluginError(f"{target.format}: the format's owner cannot read what it wrote; nothing was committed")
    return staged


def _seal(checkpoint: Checkpoint, target: StagedTarget, found: ReadBack, provenance: Mapping[str, Any]) -> Seal:
    certificates = {}
    tainted = carried(checkpoint)
    known = {"ckpt_core": __version__, **provenance, **checkpoint.checked_by()}
    if target.work:
        known["plan"] = target.work
    if tainted:
        known["tainted"] = tainted
    converted = () if checkpoint.in_memory else checkpoint.manifest.components
    for component in converted:
        for name, info in component.tensors.infos():
            key = (component.label, name)
            seen = target.written.get(key) or target.written[component.label, str(info.alias_of)]
            operation = "; ".join(checkpoint.operations(component.label, name)) or COPY
            source = "/".join(checkpoint.origin_key(component.label, name))
            certificates["/".join(key)] = Certificate(source, seen.source, operation, seen.target)
    return Seal(
        format=target.format,
        files=found.files,
        tensors=found.by_component(),
        components=found.components(),
        certificates=certificates,
        provenance=known,
    )


def _live(state: Mapping[str, Any]) -> Checkpoint:
    return checkpoint_of(state)
