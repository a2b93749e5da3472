"""Shows a checkpoint's training record as a person reads it."""

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    from ckpt_core.layouts.training_record import Loss, TrainingRecord


def record_lines(record: "TrainingRecord") -> Iterator[str]:
    """Yield the training's progress and success, then the writer's versions.

    Nothing comes where nothing is recorded.
    """
    said = list(_parts(record))
    if said:
        yield f"training: {', '.join(said)}"
    if record.versions:
        yield "versions: " + ", ".join(f"{printable(name)} {printable(v)}" for name, v in record.versions.items())


def _parts(record: "TrainingRecord") -> Iterator[str]:
    if record.step is not None:
        yield f"step {record.step}"
    if record.epoch is not None:
        yield f"epoch {record.epoch:g}"
    for best in record.best:
        where = f" ({printable(best.where)})" if best.where else ""
        name = best.name if best.name.lower().startswith("best") else f"best {best.name}"
        yield f"{printable(name)} {best.value:.4g}{where}"
    if record.learning_rates:
        yield f"learning rate {' / '.join(f'{rate:.4g}' for rate in record.learning_rates)}"
    for name, losses in groupby(record.losses, key=lambda loss: loss.name):
        yield _losses(name, list(losses))


def _losses(name: str, losses: "list[Loss]") -> str:
    values = " ".join(f"{loss.value:.4g}" for loss in losses)
    steps = [str(loss.step) for loss in losses if loss.step is not None]
    at = f" (step {', '.join(steps)})" if steps else ""
    return f"{printable(name)} {values}{at}"
