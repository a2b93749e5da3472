"""The loops of Lightning, and all that they forget.

Where they would go on otherwise than they stopped, they are corrected.

All that is not public of Lightning is asked for here. Source: lightning 2.6, `pytorch/loops/fit_loop.py`,
`training_epoch_loop.py`, `pytorch/trainer/connectors/logger_connector/`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch.loops.loop import _Loop
from lightning.pytorch.trainer.connectors.data_connector import _DataLoaderSource

from ckpt_core.training.integrations.lightning.logged import Logged

_FILLING = ("restore_model", "restore_datamodule", "restore_callbacks")


class Loops:
    """The loops of one training, between two steps.

    Attributes:
        logged: What it has logged.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._fit = trainer.fit_loop
        self._epoch = trainer.fit_loop.epoch_loop
        self._source: Any = None
        self.logged = Logged(trainer)

    @property
    def trainer(self) -> Any:
        """The Trainer."""
        return self._trainer

    @property
    def batch(self) -> int:
        """Batches of this epoch that are done."""
        return int(self._epoch.batch_progress.current.completed)

    @property
    def batches(self) -> int:
        """Batches of all epochs that are done."""
        return int(self._epoch.batch_progress.total.completed)

    @property
    def epochs(self) -> int:
        """Epochs that are done."""
        return int(self._fit.epoch_progress.current.processed)

    @property
    def between_epochs(self) -> bool:
        """True if no epoch is under way."""
        progress = self._fit.epoch_progress.current
        return bool(progress.ready == progress.processed)

    @property
    def adds_up(self) -> bool:
        """True if gradients are kept from one batch to the next."""
        if self.between_epochs:
            return False
        return not self._trainer.lightning_module.automatic_optimization or bool(self._epoch._should_accumulate())

    @property
    def cut(self) -> bool:
        """True if the last epoch ended before its last batch."""
        progress = self._epoch.batch_progress
        return not progress.is_last_batch and self.batch < self._trainer.num_training_batches

    def given_loader(self) -> Any:
        """Return the loader that the training was given."""
        return (self._source or self._fit._data_source).dataloader()

    def take_loader_from(self, made: Callable[[], Any]) -> None:
        """Let the training take its data from another loader."""
        self._source = self._fit._data_source
        self._epoch.__dict__.pop("_should_check_val_fx", None)
        loops = self

        class Source(_DataLoaderSource):  # type: ignore[misc]
            def dataloader(self) -> Any:
                loops._go_on_rightly()
                return made()

        self._fit._data_source = Source(self._source.instance, self._source.name)

    def fill_once(self, agreed: Callable[[], None]) -> None:
        """Let Lightning fill a training once its optimizers are agreed to.

        By itself it fills the module, its data and the callbacks before it makes them.
        """
        connector, strategy = self._trainer._checkpoint_connector, self._trainer.strategy
        made = strategy.setup_optimizers

        def make_and_fill(trainer: Any) -> None:
            made(trainer)
            self.fill_as_ever()
            agreed()
            for name in _FILLING:
                getattr(connector, name)()

        strategy.setup_optimizers = make_and_fill
        for name in _FILLING:
            setattr(connector, name, lambda: None)

    def fill_as_ever(self) -> None:
        """Let Lightning fill a training when it does."""
        self._trainer.strategy.__dict__.pop("setup_optimizers", None)
        for name in _FILLING:
            self._trainer._checkpoint_connector.__dict__.pop(name, None)

    def dump(self, weights_only: bool) -> dict[str, Any]:
        """Return what Lightning saves."""
        found: dict[str, Any] = self._trainer._checkpoint_connector.dump_checkpoint(weights_only)
        return found

    def forgotten(self) -> dict[str, Any]:
        """Return what Lightning leaves out of it."""
        stop = bool(self._trainer.should_stop)
        return {"should_stop": stop, "logged": self.logged.state(epoch_too=not self.between_epochs)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Give back what Lightning left out."""
        self._trainer.should_stop = state["should_stop"]
        self.logged.restore(state["logged"])
        self._fit._restarting = (
            False  # else the epoch that goes on does not end as others: no step of plateau schedules
        )

    def _go_on_rightly(self) -> None:
        """Keep Lightning from doing again what was done before.

        Nothing of a step is left to be done.
        """
        if not self._fit._loaded_from_state_dict:
            return
        if self.between_epochs:
            _Loop.restarting.fset(self._fit, False)  # with max_steps it takes the next epoch for done
            return
        # It would take the validation behind the last batch for left out, and count one batch more to loggers.
        self._epoch._should_check_val_fx = self._nothing_left

    def _nothing_left(self, fetcher: Any) -> bool:
        del self._epoch._should_check_val_fx
        return False
