"""Callbacks inside of a Trainer.

What it forgets of its own state is saved with its callbacks', and restored.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import uuid4

from ckpt_core.errors import LoadRefusedError
from ckpt_core.log import Logger
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.training.integrations.hf.data import DataSettings
from ckpt_core.training.planning import rates

_log = Logger(__name__)

NAME = "CkptRun"
"""Under this name the Trainer keeps our state among those of its callbacks."""

_CONTROL = "TrainerControl"
_LOSSES = ("_total_loss_scalar", "_globalstep_last_logged", "_initial_global_step")
"""Of a Trainer: what a logged loss is an average of. It forgets them, and logs another one after a stop."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A Trainer checkpoint's record of its run.

    Of a new run, what it begins with.

    Attributes:
        run: Tells it from other runs.
        attempt: Counts its processes, from 1.
        step: Steps of the optimizer that are done.
        stopped: Whether a callback had ended it before its last step.
        data: The `DataSettings` that it was trained with.
        losses: What the next logged loss is an average of.
        rates: Learning rate of each group of the optimizer, before the schedule.
        callbacks: The attributes of each callback with state, by the name of its class.
    """

    run: str = field(default_factory=lambda: uuid4().hex)
    attempt: int = 0
    step: int = 0
    stopped: bool = False
    data: Mapping[str, Any] = field(default_factory=dict)
    losses: Mapping[str, float] = field(default_factory=dict)
    rates: Sequence[float] = ()
    callbacks: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    @classmethod
    def of(cls, checkpoint: StoredCheckpoint) -> "Saved":
        """Return what a checkpoint says. LoadRefusedError where `run_trainer` did not write it."""
        where = str(checkpoint.location)
        try:
            state: Any = checkpoint.component("progress").state
            groups: Any = checkpoint.component("optimizer").state
            states = {
                name: [one["attributes"] for one in (held if isinstance(held, list) else [held])]
                for name, held in state["stateful_callbacks"].items()
                if name not in (NAME, _CONTROL)
            }
            own = state["stateful_callbacks"][NAME]["attributes"]
            control = state["stateful_callbacks"][_CONTROL]["args"]
            return cls(
                own["run"],
                own["attempt"],
                state["global_step"],
                bool(control["should_training_stop"]) and state["global_step"] < state["max_steps"],
                own["data"],
                own["losses"],
                rates.base_rates(groups["param_groups"]),
                states,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LoadRefusedError(
                f"{where}: it was not written by a training of run_trainer ({type(error).__name__}), and the order of "
                "its data cannot be had again; begin in another folder, from its weights; nothing was changed"
            ) from error


def callback_of(
    trainer: Any,
    saved: Saved,
    data: DataSettings,
    own_rates: Sequence[float] | None,
    fill: Callable[[], None],
) -> Any:
    """Return the callback of a training.

    Args:
        trainer: The Trainer.
        saved: What it goes on from.
        data: What its data is now.
        own_rates: Learning rates that count in place of the checkpoint's; None where those count.
        fill: Restores what the Trainer has not saved itself.
    """
    from transformers import TrainerCallback
    from transformers.trainer_callback import ExportableState

    class CkptRun(TrainerCallback, ExportableState):  # type: ignore[misc]
        def state(self) -> dict[str, Any]:
            losses = {name: getattr(trainer, name, 0) for name in _LOSSES}
            open_loss = float(getattr(trainer, "_tr_loss", 0.0))
            own = {"run": saved.run, "attempt": saved.attempt + 1, "data": asdict(data)}
            return {"args": {}, "attributes": {**own, "losses": {**losses, "_tr_loss": open_loss}}}

        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if saved.attempt:
                _restore_losses(trainer, saved.losses)
                _restore_callbacks(trainer, saved.callbacks)
                fill()
            for one in trainer.callback_handler.callbacks:
                if isinstance(one, ExportableState):
                    state.stateful_callbacks.setdefault(type(one).__name__, {})
            if own_rates is not None:
                _set_rates(list(own_rates), given["optimizer"], given["lr_scheduler"])

        def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if data.samples is None:
                state.epoch = state.global_step / state.max_steps  # it counts the batches of this process

    return CkptRun()


def _restore_losses(trainer: Any, losses: Mapping[str, float]) -> None:
    for name in _LOSSES:
        setattr(trainer, name, losses[name])
    trainer._tr_loss += losses["_tr_loss"]


def _restore_callbacks(trainer: Any, states: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Give callbacks the attributes that they had.

    Such as the patience that is left; their arguments are the new.
    """
    for name, held in states.items():
        same = [one for one in trainer.callback_handler.callbacks if type(one).__name__ == name]
        if len(same) != len(held):
            _log.warning("callback %s: saved %d times, and there are %d: not restored", name, len(held), len(same))
            continue
        for callback, attributes in zip(same, held, strict=True):
            for attribute, value in attributes.items():
                setattr(callback, attribute, value)


def _set_rates(own: list[float], optimizer: Any, scheduler: Any) -> None:
    """Set learning rates within what accelerate wraps."""
    rates.set_rates(getattr(optimizer, "optimizer", optimizer), own, getattr(scheduler, "scheduler", scheduler))
