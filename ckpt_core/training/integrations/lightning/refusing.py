"""Refuses a Trainer that cannot be exact after a stop."""

from collections.abc import Iterator
from typing import Any

from ckpt_core.errors import UsageError

_CALLBACKS = {
    "BatchSizeFinder": "it saves and loads within a training",
    "LearningRateFinder": "it saves and loads within a training",
    "GradientAccumulationScheduler": "the accumulation of an epoch is not set again in its middle",
    "StochasticWeightAveraging": "it does not save its average",
}


def refuse_inexact(trainer: Any) -> None:
    """Refuse a Trainer that cannot be exact after a stop.

    Raises UsageError.
    """
    for reason in _reasons(trainer):
        raise UsageError(f"ExactResume: {reason}")


def _reasons(trainer: Any) -> Iterator[str]:
    from lightning.pytorch.strategies import SingleDeviceStrategy

    if trainer.world_size > 1 or not isinstance(trainer.strategy, SingleDeviceStrategy):
        yield "it sees to trainings of one process on one device; save several with what Lightning has of its own"
    for callback in trainer.callbacks:
        name = type(callback).__name__
        if name in _CALLBACKS:
            yield f"with the callback {name} a resume is not exact: {_CALLBACKS[name]}; leave it out"
    if trainer.reload_dataloaders_every_n_epochs:
        yield "reload_dataloaders_every_n_epochs: the position in a loader that is made anew is not known; leave it out"
    if trainer.overfit_batches:
        yield "overfit_batches: Lightning replaces the order of the data; leave it out"
    if getattr(trainer, "_val_check_time_interval", None) is not None:
        yield "val_check_interval is a time: validation comes at other steps after a stop; give batches"


def refuse_own_fetching(fetcher: Any) -> None:
    """UsageError where the step of a module asks for its batches itself."""
    if type(fetcher).__name__ == "_DataLoaderIterDataFetcher":
        raise UsageError(
            "ExactResume: a training_step(dataloader_iter) asks for its batches itself; let it take a batch"
        )
