"""The callback that makes a resume of Lightning exact.

All that Lightning forgets of a training is saved, and restored.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from uuid import uuid4

from lightning.pytorch.callbacks import Callback

from ckpt_core.arguments import argument
from ckpt_core.errors import UsageError
from ckpt_core.layouts.in_memory import checkpoint_of_parts
from ckpt_core.log import Logger
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.training import random_states
from ckpt_core.training.integrations.lightning.bundle_io import BundleIO
from ckpt_core.training.integrations.lightning.comparing import compare, compare_optimizers
from ckpt_core.training.integrations.lightning.finding import refuse_strangers
from ckpt_core.training.integrations.lightning.loader import WatchedLoader, exact_loader, watched
from ckpt_core.training.integrations.lightning.loops import Loops
from ckpt_core.training.integrations.lightning.parts import OWN, parts_of
from ckpt_core.training.integrations.lightning.refusing import refuse_inexact, refuse_own_fetching
from ckpt_core.training.objects import gradients_of
from ckpt_core.training.planning import rates
from ckpt_core.training.planning.resuming import filling_gradients
from ckpt_core.training.preemption import Preemption

_log = Logger(__name__)

_PREEMPTED = "preempted-step="


class _Wanted(NamedTuple):
    """A save or a removal that is put off.

    A save is of all or of weights alone.
    """

    place: str
    save: bool
    weights_only: bool = False


class ExactResume(Callback):  # type: ignore[misc]  # Lightning's types are not followed
    """Lets a training of Lightning go on bit for bit.

    It goes on from what a `BundleIO` saved of it.

    `Trainer(plugins=[BundleIO()], callbacks=[ExactResume(seed=42), ModelCheckpoint(…)])`. The data is drawn by keys of
    the seed, whatever loader the training has; random states, the position in the data, gradients that are added up,
    and what the loops and loggers of Lightning forget are saved too. What `ModelCheckpoint` asks for in the middle of
    a step is saved once all of the step is done, validation included.

    Args:
        seed: Decides the order of each epoch and what each sample draws.
        lr: Where the optimizer's learning rate is not the checkpoint's, which counts: `checkpoint` or `argument`.
        preemption: Take SIGTERM and SIGUSR1: the step is done, all is saved as `preempted-step=STEP.ckpt` in the folder
            of the ModelCheckpoint, and the process ends with exit code 143 or 138. A second signal ends it at once.

    Raises, within `fit`, before the first step:
        UsageError: Something of the training could not be had again, or all of its steps are done.
        LoadRefusedError: The checkpoint does not fit.
        OverwriteError: The folder of a ModelCheckpoint has checkpoints of another run.
    """

    def __init__(self, seed: int, *, lr: str | None = None, preemption: bool = False) -> None:
        if lr not in (None, rates.CHECKPOINT, rates.ARGUMENT):
            raise UsageError(f"{argument('lr')}: checkpoint or argument is needed, not {lr!r}")
        self.seed = seed
        self.lr = lr
        self.preemption = preemption
        self._begin(None)

    def _begin(self, trainer: Any) -> None:
        self._trainer = trainer
        self._run, self._attempt = uuid4().hex, 1
        self._loader: WatchedLoader | None = None
        self._loops: Loops | None = None
        self._wanted: list[_Wanted] = []
        self._active = self._failed = self._ended = False
        self._went_on_from: str | None = None
        self._own: Mapping[str, Any] | None = None
        self._found: dict[str, Any] | None = None
        self._restore: list[Callable[[], None]] = []
        self._preemption = Preemption()
        self._listening: Any = None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        if stage != "fit":
            return
        io = trainer.strategy.checkpoint_io
        if not isinstance(io, BundleIO):
            raise UsageError(f"ExactResume: a {type(io).__name__} saves; give the Trainer plugins=[BundleIO()]")
        refuse_inexact(trainer)
        self._begin(trainer)
        io.training = self
        self._loops = Loops(trainer)
        self._loops.take_loader_from(self._made)

    def takes_save(self, place: str, weights_only: bool) -> bool:
        """Return whether a save is put off, or left out.

        It is put off to the end of the step, and left out where the step broke off.
        """
        return self._takes(_Wanted(place, save=True, weights_only=weights_only))

    def takes_removal(self, place: str) -> bool:
        """Return whether a removal is put off.

        It is done behind the saves that were asked for before it.
        """
        return self._takes(_Wanted(place, save=False))

    def _takes(self, wanted: _Wanted) -> bool:
        if self._failed and wanted.save:
            _log.warning("%s: not saved: the training broke off in the middle of a step", wanted.place)
        if self._active:
            self._wanted.append(wanted)
        return self._active or self._failed

    def begin_from(self, stored: StoredCheckpoint, found: dict[str, Any]) -> None:
        """Refuse a checkpoint that does not fit, or go on from it.

        It is refused before anything is changed.
        """
        if self._trainer is None or self._loops is None:
            return
        own, module = found[OWN], self._trainer.lightning_module
        loader = self._made()
        compare(self._loops, module, loader, stored, own)
        self._run, self._attempt = own["run"], own["attempt"] + 1
        self._own, self._found = own, found
        self._went_on_from = os.path.abspath(stored.location.url)
        gradients = filling_gradients(module, own.get("gradients", {}), str(stored.location))
        random = random_states.restoring(own["rng"])
        loops = self._loops
        loops.fill_once(self._agree)
        loader.go_on(own["sampler"], own["batch"])
        self._restore = [lambda: loops.restore(own["loops"]), gradients, random]

    def _agree(self) -> None:
        """Refuse optimizers and schedules that do not fit; nothing was filled yet."""
        assert self._own is not None and self._found is not None
        trainer = self._trainer
        own_rates = [rates.base_rates(one.param_groups) for one in trainer.optimizers]
        compare_optimizers(trainer, self._found, self._own, self.lr)
        if self.lr == rates.ARGUMENT:
            self._restore.insert(0, lambda: _set_rates(trainer, own_rates))
        self._found = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        assert self._loops is not None
        refuse_own_fetching(trainer.fit_loop._data_fetcher)
        for one in trainer.checkpoint_callbacks:
            if folder := getattr(one, "dirpath", None):
                refuse_strangers(folder, self._run)
        self._active = True
        checkpoint_of_parts(parts_of(self._loops.dump(weights_only=False)))  # what cannot be saved is said now
        if self.preemption:
            self._listening = self._preemption.listening()
            self._listening.__enter__()

    def on_train_batch_end(self, trainer: Any, *given: Any) -> None:
        assert self._loops is not None
        self._loops.logged.add_open()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        assert self._loops is not None
        self._loops.logged.add_open()
        self._loops.logged.end_epoch()

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if self._loader is None or self._loops is None or self._trainer is not trainer:
            return
        batch = 0 if self._loops.between_epochs else self._loops.batch
        checkpoint[OWN] = {
            "run": self._run,
            "attempt": self._attempt,
            "batches": self._loops.batches,
            "batch": batch,
            "epochs": self._loops.epochs,
            "cut": self._ended and self._loops.cut,
            "stopped": self._ended and bool(trainer.should_stop),
            "accumulate": trainer.accumulate_grad_batches,
            "classes": {
                "optimizer": [type(one).__name__ for one in trainer.optimizers],
                "scheduler": [type(one.scheduler).__name__ for one in trainer.lr_scheduler_configs],
            },
            "loops": self._loops.forgotten(),
            "sampler": dict(self._loader.behind(batch)),
            "rng": random_states.capture(),
            "gradients": gradients_of(pl_module) if self._loops.adds_up else {},
        }

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        assert self._loader is not None and self._loops is not None
        self._loader.move_to(self._loops.epochs)
        self._ended = True
        self._between()
        self._active = False
        self._stop_listening()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        if self._loops is not None:
            self._loops.fill_as_ever()
        self._failed, self._active = self._active, False
        for one in self._wanted:
            if one.save:
                _log.warning("%s: not saved: the training broke off in the middle of a step", one.place)
        self._stop_listening()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._stop_listening()
        if self._loops is not None:
            self._loops.fill_as_ever()
        if isinstance(trainer.strategy.checkpoint_io, BundleIO):
            trainer.strategy.checkpoint_io.training = None

    def _made(self) -> WatchedLoader:
        """Return the loader of the training.

        It is made once, of the one that the training was given.
        """
        if self._loader is None:
            assert self._loops is not None
            self._loader = watched(exact_loader(self._loops.given_loader(), self.seed), self._between)
        return self._loader

    def _between(self) -> None:
        """Restore or save between two steps.

        All of one step is done then, and nothing of the next one is begun.
        """
        if not self._active:
            return
        restore, self._restore = self._restore, []
        for one in restore:
            one()
        wanted, self._wanted = self._wanted, []
        self._carry_out(wanted)
        if self._preemption.signal is not None:
            if not any(one.save and not one.weights_only for one in wanted):
                self._carry_out([_Wanted(self._preempted(), save=True)])
            self._active = False
            raise SystemExit(self._preemption.exit_code)

    def _carry_out(self, wanted: list[_Wanted]) -> None:
        assert self._loops is not None
        io, dumps = self._trainer.strategy.checkpoint_io, {}
        for one in wanted:
            if not one.save:
                io.remove(one.place)
                continue
            if one.weights_only not in dumps:
                dumps[one.weights_only] = self._loops.dump(one.weights_only)
            io.write(dumps[one.weights_only], one.place)
        if False in dumps and self._went_on_from is not None:
            place, self._went_on_from = self._went_on_from, None
            if os.path.basename(place).startswith(_PREEMPTED):
                io.remove(place)  # no ModelCheckpoint knows it

    def _preempted(self) -> str:
        trainer = self._trainer
        folder = getattr(trainer.checkpoint_callback, "dirpath", None) or trainer.default_root_dir
        return os.path.abspath(os.path.join(folder, f"{_PREEMPTED}{trainer.global_step}.ckpt"))

    def _stop_listening(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.__exit__(None, None, None)


def _set_rates(trainer: Any, own: list[list[float]]) -> None:
    schedulers = {id(one.scheduler.optimizer): one.scheduler for one in trainer.lr_scheduler_configs}
    for optimizer, base in zip(trainer.optimizers, own, strict=True):
        rates.set_rates(optimizer, base, schedulers.get(id(optimizer)))
