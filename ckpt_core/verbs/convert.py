"""Convert: any checkpoint that can be read, in any format that can be written, streamed, proved and certified.

A conversion that is stopped goes on where it was when it is run again: finished tensors are in the stage's journal.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ckpt_core import knobs
from ckpt_core.errors import BudgetError, UnsupportedFormatError, UsageError
from ckpt_core.manager.opening import checked_options
from ckpt_core.manager.plugin_manager import CkptPluginManager, get_plugin_manager
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.reading.coverage import check_component
from ckpt_core.reading.views import ViewCheckpoint, select
from ckpt_core.schema.access import Checkpoint, Target
from ckpt_core.schema.dtypes import BY_CODE, DType
from ckpt_core.schema.findings import Severity
from ckpt_core.schema.locations import Kind, Location
from ckpt_core.schema.manifests import Manifest
from ckpt_core.schema.plans import TensorBytes, WritePlan
from ckpt_core.storage.targets import refuse_overlap
from ckpt_core.verbs.opening import find
from ckpt_core.verbs.save import SaveReport, format_of_path, save

if TYPE_CHECKING:
    from ckpt_core.schema.progress import Progress

_AT_REST = 24 << 20
"""Bytes of memory a conversion takes besides its slabs: the table of a usual checkpoint, numpy, xxhash."""

_SLABS_A_WORKER = 6
"""As read, as numbers, as cast, and what the cast needs on the way."""

_LEAST_SLAB = 64 << 10


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a conversion would do. Bytes; `memory` is the most it takes above start-up."""

    read: int
    written: int
    files: Mapping[str, int]
    memory: int
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a conversion did, or with `dry_run` would do: `report` is None then."""

    source: str
    forecast: Forecast
    report: SaveReport | None = None
    assets_left: tuple[str, ...] = field(default=())


def convert(
    source: str | StoredCheckpoint,
    destination: str,
    *,
    to: str | None = None,
    components: Sequence[str] = (),
    dtypes: Sequence[str] = (),
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    rename: Sequence[str] = (),
    format: str | None = None,
    hints: Mapping[str, object] | None = None,
    options: Mapping[str, Any] | None = None,
    max_memory: int | None = None,
    force: bool = False,
    dry_run: bool = False,
    progress: "Progress | None" = None,
    manager: CkptPluginManager | None = None,
) -> Conversion:
    """Convert a checkpoint.

    Args:
        source: A ref, as for `load`, or an open checkpoint.
        destination: A local path; it is written whole or not at all.
        to: Name of the format; None to take it from the destination's suffix.
        components: Labels to convert; none for all.
        dtypes: `BF16` for every floating tensor of 16 bits and more, `PATTERN=F32` for those that match a glob; the
            last that fits counts.
        include: Globs of tensor names to keep; none for all.
        exclude: Globs of tensor names to leave out.
        rename: `OLD=NEW` for names that start with OLD; the first that fits counts.
        format: Take the source for this format.
        hints: As for `load`.
        options: Options of the source's format and of the target's; each goes to the one that has it, or to both. Where
            the source is open, they are the target's.
        max_memory: Most bytes to take above start-up; None for no limit.
        force: Replace what is at the destination.
        dry_run: Plan only, and write nothing.
        progress: Told of the bytes written.
        manager: The plugin manager; None for the process's own.

    Raises:
        OverwriteError: The destination exists, is the source, lies in it or holds it.
        CorruptError: The source has holes, or what was written is not what was read.
        UnsupportedFormatError: The format cannot hold this.
        BudgetError: The disk is full, or `max_memory` is too little.
        CkptError: As for `load` and `save`.
    """
    manager = manager or get_plugin_manager()
    name = to or format_of_path(destination)
    opened, reading, writing = _opened(source, hints, format, manager, name, options or {})
    _refuse_holes(opened)
    _refuse_overlap(opened, destination)
    view = select(
        opened,
        components=components,
        include=include,
        exclude=exclude,
        rename=[_pair(rule, "rename") for rule in rename],
        dtypes=[_dtype_rule(rule) for rule in dtypes],
    )
    plan = _plan(manager, view, destination, name, writing)
    with _limited(max_memory):
        forecast = _forecast(opened, view, plan)
        if dry_run:
            return Conversion(str(opened.location), forecast)
        report = save(
            view,
            destination,
            format=name,
            options=writing,
            force=force,
            resume=True,
            provenance=_provenance(opened, reading),
            progress=progress,
            manager=manager,
        )
    kept = {file.path for file in plan.files}
    left = tuple(asset.path for asset in view.manifest.assets if asset.path not in kept)
    return Conversion(str(opened.location), forecast, report, left)


def _opened(
    source: str | StoredCheckpoint,
    hints: Mapping[str, object] | None,
    format: str | None,
    manager: CkptPluginManager,
    to: str,
    options: Mapping[str, Any],
) -> tuple[StoredCheckpoint, Mapping[str, Any], Mapping[str, Any]]:
    """The source, the options that it was opened with, and those that are left for the target."""
    if isinstance(source, StoredCheckpoint):
        return source, {}, options
    place = find(source, hints=hints, format=format, manager=manager)
    has = {option.name for option in manager.format(place.match.format).options if option.reads} if place.match else {}
    takes = {option.name for option in manager.format(to).options if option.writes}
    reading = {name: value for name, value in options.items() if name in has}
    writing = {name: value for name, value in options.items() if name in takes or name not in has}
    return place.open(reading), reading, writing


def _provenance(opened: StoredCheckpoint, reading: Mapping[str, Any]) -> dict[str, Any]:
    """What the seal says of the source: enough to open it again as it was opened here."""
    found: dict[str, Any] = {"source": str(opened.location), "source_format": opened.match.format}
    return {**found, "source_options": {name: str(value) for name, value in reading.items()}} if reading else found


def _refuse_holes(checkpoint: StoredCheckpoint) -> None:
    """Coverage is proved before anything is planned: a hole would become somebody's weights."""
    from ckpt_core.errors import CorruptError

    problems = list(checkpoint.manifest.findings)
    for component in checkpoint.manifest.components:
        problems += check_component(checkpoint.files, component)
    for finding in problems:
        if finding.severity is Severity.ERROR:
            raise CorruptError(finding.message, code=finding.code, path=finding.path, tensor=finding.tensor)


def _refuse_overlap(checkpoint: StoredCheckpoint, destination: str) -> None:
    if "://" not in checkpoint.location.url:
        refuse_overlap(destination, {checkpoint.location.url: "its own source"})


def _pair(rule: str, what: str) -> tuple[str, str]:
    old, equals, new = rule.partition("=")
    if not equals or not old:
        raise UsageError(f"{rule!r}: a {what} rule is OLD=NEW")
    return old, new


def _dtype_rule(rule: str) -> tuple[str, DType]:
    pattern, equals, code = rule.rpartition("=")
    dtype = BY_CODE.get(code.upper())
    if dtype is None:
        raise UsageError(f"{code!r}: not a type; known are {', '.join(sorted(BY_CODE))}")
    return pattern if equals else "*", dtype


class _Drawing(Target):
    """A target that keeps the plan and writes nothing."""

    def __init__(self, location: Location, format: str, options: Mapping[str, Any]) -> None:
        self.location, self.format, self.options = location, format, options
        self.plan = WritePlan(())

    def write(self, plan: WritePlan, checkpoint: Checkpoint) -> Manifest:
        self.plan = plan
        return checkpoint.manifest


def _plan(
    manager: CkptPluginManager, view: ViewCheckpoint, destination: str, name: str, options: Mapping[str, Any]
) -> WritePlan:
    kind = manager.format(name).writes
    if kind is None:
        raise UnsupportedFormatError(f"{name}: this format cannot be written")
    drawing = _Drawing(
        Location(destination, kind or Kind.FILE), name, checked_options(manager, name, options, writing=True)
    )
    manager.hooks.save(checkpoint=view, target=drawing)
    return drawing.plan


def _forecast(opened: StoredCheckpoint, view: ViewCheckpoint, plan: WritePlan) -> Forecast:
    read = sum(
        view.origin(section.component, section.name).nbytes
        for file in plan.files
        for section in file.sections
        if isinstance(section, TensorBytes)
    )
    shown = {component.label for component in view.manifest.components}
    left = [c.label for c in opened.manifest.components if c.label not in shown]
    return Forecast(read, plan.size, {file.path: file.size for file in plan.files}, _memory(), tuple(left))


def _memory() -> int:
    return _AT_REST + knobs.workers() * _SLABS_A_WORKER * knobs.slab_bytes()


@contextmanager
def _limited(max_memory: int | None) -> Iterator[None]:
    """Fewer workers, then smaller slabs, until the work fits; BudgetError where it cannot."""
    workers, slab = knobs.workers(), knobs.slab_bytes()
    while max_memory is not None and _AT_REST + workers * _SLABS_A_WORKER * slab > max_memory:
        if workers > 1:
            workers -= 1
        elif slab > _LEAST_SLAB:
            slab //= 2
        else:
            least = _AT_REST + _SLABS_A_WORKER * _LEAST_SLAB
            raise BudgetError(f"--max-memory {max_memory}: a conversion takes at least {least} bytes; allow more")
    with knobs.override(workers=workers, slab_bytes=slab):
        yield
