"""Forecasts a conversion from its plan, and keeps it within a budget.

It tells what would be read, written and taken.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ckpt_core import knobs
from ckpt_core.arguments import argument
from ckpt_core.errors import BudgetError, UnsupportedFormatError
from ckpt_core.manager.options import checked_options
from ckpt_core.manager.plugin_manager import CkptPluginManager
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.reading.objects import left_out
from ckpt_core.reading.selection import ViewCheckpoint
from ckpt_core.schema.access import Checkpoint, Target
from ckpt_core.schema.findings import Finding
from ckpt_core.schema.locations import Location, LocationKind
from ckpt_core.schema.manifests import Component, Manifest
from ckpt_core.schema.plans import TensorBytes, WritePlan
from ckpt_core.schema.text import printable
from ckpt_core.storage.urls import local_path
from ckpt_core.storage.writing.publishing.publisher import is_published

if TYPE_CHECKING:
    from ckpt_core.storage.objects.store import ObjectStore

_AT_REST = 24 << 20
"""Bytes of memory a conversion takes besides its slabs: the table of a usual checkpoint, numpy, xxhash."""

LEFT_OUT = ("FM005", "PK008", "TF007", "ZP008")
"""What says that a reader left something out, which the certificate names too."""

_SET_ASIDE = (*LEFT_OUT, "TF005", "TF011")
"""What says that a reader took the tensors of something and not all of it."""

_SLABS_A_WORKER = 6
"""As read, as numbers, as cast, and what the cast needs on the way."""

_CLIENT = 20 << 20
"""What the client of a store takes: most of it are botocore's tables."""

_PARTS_A_WORKER = 3
"""Of what is put into a store: one that is filled, one that waits for a checksum, one shared with a neighbour."""

_LEAST_SLAB = 64 << 10

_COMMITTING = 5
"""Requests besides: the lease, the journal begun and ended, the digests of blocks and the seal."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The reads, writes and memory that a conversion would take.

    All in bytes; `memory` is the most it takes above start-up.

    Attributes:
        requests: In how many requests a store is given all of it; None for a disk.
        left_out: Labels of the components that are left out.
        objects_left: What else is left out as asked, by component, in words: objects and tensors that are not plain.
        set_aside: What the source's reader set aside, which no format has a place for, in its own words.
    """

    read: int
    written: int
    files: Mapping[str, int]
    memory: int
    left_out: tuple[str, ...] = ()
    objects_left: tuple[str, ...] = ()
    set_aside: tuple[str, ...] = ()
    requests: int | None = None


class _Drawing(Target):
    """A target that keeps the plan and writes nothing."""

    def __init__(self, location: Location, format: str, options: Mapping[str, Any]) -> None:
        self.location, self.format, self.options = location, format, options
        self.plan = WritePlan(())

    def write(self, plan: WritePlan, checkpoint: Checkpoint) -> Manifest:
        self.plan = plan
        return checkpoint.manifest


def draw_plan(
    manager: CkptPluginManager, view: Checkpoint, destination: str, name: str, options: Mapping[str, Any]
) -> WritePlan:
    kind = manager.format(name).writes
    if kind is None:
        raise UnsupportedFormatError(f"{name}: this format cannot be written")
    drawing = _Drawing(
        Location(destination, kind or LocationKind.FILE), name, checked_options(manager, name, options, writing=True)
    )
    manager.hooks.save(checkpoint=view, target=drawing)
    return drawing.plan


def forecast(opened: StoredCheckpoint, view: ViewCheckpoint, plan: WritePlan, destination: str) -> Forecast:
    keys = {section.key for file in plan.files for section in file.sections if isinstance(section, TensorBytes)}
    read = sum(view.origin(*key).nbytes for key in keys)
    files = {file.path: file.size for file in plan.files}
    shown = {component.label for component in view.manifest.components}
    left = [c.label for c in opened.manifest.components if c.label not in shown]
    objects = [left_out(_of(opened, component), component) for component in view.manifest.components]
    aside = [_aside(finding) for finding in opened.manifest.findings if finding.code in _SET_ASIDE]
    return Forecast(
        read,
        sum(files.values()),
        files,
        _memory(part_of(plan, destination)),
        tuple(left),
        tuple(filter(None, objects)),
        tuple(aside),
        _requests_for(files, destination),
    )


def part_of(plan: WritePlan, destination: str) -> int:
    """Return the bytes of the largest part that goes to a store.

    It is 0 for a disk.
    """
    store = _store_of(destination)
    return 0 if store is None else max((min(file.size, store.part_bytes(file.size)) for file in plan.files), default=0)


def _requests_for(files: Mapping[str, int], destination: str) -> int | None:
    store = _store_of(destination)
    if store is None:
        return None
    return sum(_requests(size, store.part_bytes(size)) for size in files.values()) + _COMMITTING


def _store_of(destination: str) -> "ObjectStore | None":
    if local_path(destination) is not None or is_published(destination):
        return None
    from ckpt_core.storage.objects.open_store import open_store

    return open_store(destination)[0]


def _requests(size: int, part: int) -> int:
    """Return the number of requests that put a file.

    One for a file of one part; for a larger one its parts, and the upload begun and completed.
    """
    return 1 if size <= part else -(-size // part) + 2


def _aside(finding: Finding) -> str:
    return finding.message if finding.tensor is None else f"{printable(finding.tensor)}: {finding.message}"


def _of(opened: StoredCheckpoint, shown: Component) -> Component:
    """Return the source's component behind a component of a view.

    It is itself where it comes from the base.
    """
    return next((one for one in opened.manifest.components if one.label == shown.label), shown)


def _memory(part: int = 0) -> int:
    return (
        _AT_REST
        + (_CLIENT if part else 0)
        + knobs.workers() * (_SLABS_A_WORKER * knobs.slab_bytes() + _PARTS_A_WORKER * part)
    )


@contextmanager
def limited(max_memory: int | None, *, part: int = 0) -> Iterator[None]:
    """Return the workers and slabs that fit the budget.

    Workers are given up first, then the size of slabs. BudgetError where nothing fits.

    Args:
        max_memory: Bytes above start-up; None for no limit.
        part: Of what is put into a store; see `part_of`.
    """
    workers, slab = knobs.workers(), knobs.slab_bytes()
    while max_memory is not None:
        with knobs.override(workers=workers, slab_bytes=slab):
            if _memory(part) <= max_memory:
                break
        if workers > 1:
            workers -= 1
        elif slab > _LEAST_SLAB:
            slab //= 2
        else:
            with knobs.override(workers=1, slab_bytes=_LEAST_SLAB):
                least = _memory(part)
            raise BudgetError(
                f"{argument('max_memory', max_memory)}: a conversion takes at least {least} bytes; allow more"
            )
    with knobs.override(workers=workers, slab_bytes=slab):
        yield
