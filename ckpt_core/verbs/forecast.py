"""Forecast: what a conversion would read, write and take, from its plan alone; and its work kept within a budget."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ckpt_core import knobs
from ckpt_core.errors import BudgetError, UnsupportedFormatError
from ckpt_core.manager.opening import checked_options
from ckpt_core.manager.plugin_manager import CkptPluginManager
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.reading.views import ViewCheckpoint
from ckpt_core.schema.access import Checkpoint, Target
from ckpt_core.schema.locations import Kind, Location
from ckpt_core.schema.manifests import Manifest
from ckpt_core.schema.plans import TensorBytes, WritePlan

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


class _Drawing(Target):
    """A target that keeps the plan and writes nothing."""

    def __init__(self, location: Location, format: str, options: Mapping[str, Any]) -> None:
        self.location, self.format, self.options = location, format, options
        self.plan = WritePlan(())

    def write(self, plan: WritePlan, checkpoint: Checkpoint) -> Manifest:
        self.plan = plan
        return checkpoint.manifest


def draw_plan(
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


def forecast(opened: StoredCheckpoint, view: ViewCheckpoint, plan: WritePlan) -> Forecast:
    keys = {section.key for file in plan.files for section in file.sections if isinstance(section, TensorBytes)}
    read = sum(view.origin(*key).nbytes for key in keys)
    files = {file.path: file.size for file in plan.files}
    shown = {component.label for component in view.manifest.components}
    left = [c.label for c in opened.manifest.components if c.label not in shown]
    return Forecast(read, sum(files.values()), files, _memory(), tuple(left))


def _memory() -> int:
    return _AT_REST + knobs.workers() * _SLABS_A_WORKER * knobs.slab_bytes()


@contextmanager
def limited(max_memory: int | None) -> Iterator[None]:
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
