"""Publish: make a checkpoint the next version of a store."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from math import isfinite
from typing import TYPE_CHECKING, Any

from ckpt_core.arguments import argument
from ckpt_core.errors import LockedError, UsageError
from ckpt_core.manager.plugin_manager import CkptPluginManager
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.schema.side_files.seals import Seal
from ckpt_core.schema.text import printable, redact
from ckpt_core.storage.files.moments import one_moment
from ckpt_core.storage.sealing import read_seal
from ckpt_core.storage.versions.names import require_alias
from ckpt_core.storage.versions.opening import open_version_store
from ckpt_core.storage.versions.prunings import CondemnedError
from ckpt_core.storage.versions.publication import Publication, publication
from ckpt_core.storage.versions.record import VersionRecord
from ckpt_core.storage.versions.version_store import Head, VersionStore
from ckpt_core.storage.writing.overlap import refuse_overlap
from ckpt_core.verbs.checked_arguments import checked
from ckpt_core.verbs.load import open_checkpoint
from ckpt_core.verbs.reference import Destination, Reference, destination_of, names_of
from ckpt_core.verbs.versions.storing import Stored, whole_seal

if TYPE_CHECKING:
    from ckpt_core.schema.access.targets import Progress

_Make = Callable[[Head], VersionRecord | None]

_TRIES = 3
"""How often a publication begins anew since a pruning has freed what it would have named."""


@dataclass(frozen=True, slots=True)
class Published:
    """The outcome of a publication.

    Attributes:
        ref: What opens the version: `STORE@v3`.
        version: Its record.
        already_there: Whether the newest version had the same content: no other was made.
        aliases: The aliases that stand for it now.
        not_kept: Tags and metrics that were given and are not of that version, as `tag final`: versions do not change.
    """

    ref: str
    version: VersionRecord
    already_there: bool = False
    aliases: tuple[str, ...] = ()
    not_kept: tuple[str, ...] = ()


@checked()
def publish(
    ref: Reference,
    store: Destination,
    *,
    alias: Sequence[str] | str = (),
    tags: Sequence[str] | str = (),
    metrics: Mapping[str, float] | None = None,
    hints: Mapping[str, object] | None = None,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
    progress: "Progress | None" = None,
    storage_options: Mapping[str, Any] | None = None,
    manager: CkptPluginManager | None = None,
) -> Published:
    """Publish a checkpoint as the next version of a store.

    Its files are kept whole; what the store has already, of any version, is not stored again. It is there at once or
    not at all. The same content as the newest version's is that version, with the tags and metrics that it has.

    Args:
        ref: The checkpoint; see `load`.
        store: A path or URL; its first use makes it.
        alias: Names that stand for this version from now on, such as `best`.
        tags: Words to keep with it.
        metrics: Values to keep with it; what the checkpoint itself records of its step where none are given.
        hints: See `load`.
        format: See `load`.
        options: See `load`.
        progress: Told of the bytes read.
        storage_options: For the clients of s3://, gs:// and hf://, by their own names, such as `endpoint_url`; None for
            what their configuration says.
        manager: The plugin manager; None for the process's own.

    Raises:
        OverwriteError: Something else is at the place of the store, or it would lie in the checkpoint.
        UnsupportedFormatError: Nothing can be written there, or the store keeps to no conditions.
        ReplacedError: The checkpoint changed meanwhile; nothing was published.
        CkptError: The checkpoint cannot be read, or is damaged; nothing was published.
    """
    aliases = [require_alias(name) for name in names_of(alias)]
    given = None if metrics is None else _numbers(metrics)
    checkpoint = open_checkpoint(ref, hints=hints, format=format, options=options, manager=manager)
    refuse_overlap(destination_of(store, "store"), {checkpoint.location.url: "the checkpoint"})
    place = open_version_store(destination_of(store, "store"))
    if progress is not None:
        progress.begin(sum(entry.size for entry in checkpoint.files.entries.values()))
    for left in reversed(range(_TRIES)):
        try:
            made, there = _published(checkpoint, place, names_of(tags), given, progress)
            break
        except CondemnedError:
            if not left:
                message = f"{place}: prunings freed again and again what was to be named; try again when they are done"
                raise LockedError(message) from None
    for name in aliases:
        place.set_alias(name, made.number)
    return Published(f"{place}@{made.name}", made, there, tuple(aliases), _not_kept(made, names_of(tags), given or {}))


def _published(
    checkpoint: StoredCheckpoint,
    place: VersionStore,
    tags: Sequence[str],
    metrics: Mapping[str, float] | None,
    progress: "Progress | None",
) -> tuple[VersionRecord, bool]:
    with publication(place) as work:
        stored = Stored(checkpoint, work, progress)
        with one_moment(checkpoint):
            seal = _carried_seal(checkpoint)
            stored.store()
            checkpoint.finish()
        record = _record(checkpoint, stored, work, seal, tags, metrics)
        made = work.commit(_maker(record, stored, work, whole_seal(seal, checkpoint.match.format, stored.blocks)))
    return made, made.table != work.table_key


def _not_kept(version: VersionRecord, tags: Sequence[str], metrics: Mapping[str, float]) -> tuple[str, ...]:
    others = [f"tag {tag}" for tag in tags if tag not in version.tags]
    return (*others, *(f"metric {name}" for name, value in metrics.items() if version.metrics.get(name) != value))


def _maker(
    record: VersionRecord, stored: Stored, work: Publication, seal: Seal
) -> Callable[[Head], VersionRecord | None]:
    """Return a function that makes the record for a head.

    The table is stored once it is known to be needed.
    """
    made: list[VersionRecord] = []

    def make(head: Head) -> VersionRecord | None:
        if head.newest is not None and head.newest.content == record.content:
            return None
        if not made:
            table = stored.table(seal)
            made.append(replace(record, table=work.put_table(table), table_digest=sha256(table).hexdigest()))
        return made[0]

    return make


def _record(
    checkpoint: StoredCheckpoint,
    stored: Stored,
    work: Publication,
    seal: Seal | None,
    tags: Sequence[str],
    metrics: Mapping[str, float] | None,
) -> VersionRecord:
    files, manifest = checkpoint.files, checkpoint.manifest
    step = manifest.step if manifest.step is not None else checkpoint.match.step
    return VersionRecord(
        number=0,
        content=stored.content,
        place=files.location.kind.value,
        format=checkpoint.match.format,
        step=step,
        metrics=_recorded(checkpoint) if metrics is None else metrics,
        tags=tuple(tags),
        size=sum(entry.size for entry in files.entries.values()),
        new=work.new,
        tensors=sum(len(component.tensors) for component in manifest.components),
        created=work.store.store.now(),
        source=redact(str(checkpoint.location)),
        lineage={**_lineage(seal), **_of_run(checkpoint)},
    )


def _carried_seal(checkpoint: StoredCheckpoint) -> Seal | None:
    """Return the seal that goes along.

    What it says of a store that the files were in is left out.
    """
    found = read_seal(checkpoint.files)
    return None if found is None else replace(found, id="", generation="", objects={})


def _lineage(seal: Seal | None) -> dict[str, Any]:
    """Return the origin that a seal tells, as plain values."""
    said = {} if seal is None else seal.provenance
    return {name: value for name, value in said.items() if name != "tainted" and _is_short(value)}


def _of_run(checkpoint: StoredCheckpoint) -> dict[str, str]:
    """Return the run of a Checkpointer's save, and the save before it."""
    states = [component.state for component in checkpoint.manifest.components if component.kind == "progress"]
    told = next((state for state in states if isinstance(state, dict)), {})
    found = {name: told.get(name) for name in ("run", "parent")}
    return {name: value for name, value in found.items() if isinstance(value, str) and _is_short(value)}


def _is_short(value: Any) -> bool:
    return isinstance(value, str | int | float | bool) and len(str(value)) <= 1000


def _recorded(checkpoint: StoredCheckpoint) -> dict[str, float]:
    """Return the metrics that a checkpoint records of its own step.

    Where a Checkpointer wrote them, those; else the last losses that the trainer logged.
    """
    for component in checkpoint.manifest.components:
        state = component.state
        if component.kind == "progress" and isinstance(state, dict) and isinstance(state.get("metrics"), dict):
            return {str(name): float(one) for name, one in state["metrics"].items() if _is_number(one)}
    from ckpt_core.layouts.training_record import training_record

    record = training_record(checkpoint)
    best = {one.name: one.value for one in record.best}
    return best | {one.name: one.value for one in record.losses}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _numbers(metrics: Mapping[str, float]) -> dict[str, float]:
    for name, value in metrics.items():
        if not isinstance(name, str) or not _is_number(value):
            raise UsageError(f"{argument('metrics')}: {printable(str(name), 80)} is no finite number")
    return {name: float(value) for name, value in metrics.items()}
