"""Compares a checkpoint with a training of Lightning.

Nothing of the training is changed before.
"""

from collections.abc import Mapping
from typing import Any

from ckpt_core.errors import LoadRefusedError, UsageError
from ckpt_core.log import Logger
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.training.filling import in_same_classes
from ckpt_core.training.integrations.lightning.loader import WatchedLoader
from ckpt_core.training.integrations.lightning.loops import Loops
from ckpt_core.training.integrations.lightning.parts import OPTIMIZERS, SCHEDULERS, label_of
from ckpt_core.training.planning import rates
from ckpt_core.training.planning.resuming import refuse_architecture
from ckpt_core.training.planning.rows import Rows

_log = Logger(__name__)

_MORE = "train for more, or begin in another folder"
_SAME = "give what there was, or begin in another folder; nothing was changed"


def compare(loops: Loops, module: Any, loader: WatchedLoader, stored: StoredCheckpoint, own: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that does not fit.

    Optimizers and schedules are made later, and compared later.
    """
    where, trainer = str(stored.location), loops.trainer
    if "rng" not in own or "sampler" not in own:
        raise LoadRefusedError(
            f"{where}: it was saved without ExactResume, or holds weights alone, and the order of its data cannot be "
            "had again; begin from its weights; nothing was changed"
        )
    step = stored.component("progress").state["global_step"]  # type: ignore[index,call-overload]
    if own["stopped"]:
        raise UsageError(f"{where}: the training was stopped at step {step}, by a callback; {_MORE}")
    if own["cut"]:
        raise LoadRefusedError(
            f"{where}: the training ended at step {step} in the middle of an epoch, and Lightning took the epoch for "
            "done; go on from an earlier one; nothing was changed"
        )
    for done, last, what in ((step, trainer.max_steps, "step"), (own["epochs"], trainer.max_epochs, "epoch")):
        if last is not None and last != -1 and done >= last:
            raise UsageError(f"{where}: {what} {done} ≥ {last}: nothing would run; {_MORE}")
    if own["accumulate"] != trainer.accumulate_grad_batches:
        raise LoadRefusedError(
            f"{where}: accumulate_grad_batches was {own['accumulate']} and is {trainer.accumulate_grad_batches}: steps "
            "would be of other batches; set it back, or start a new run; nothing was changed"
        )
    loader.refuse(own["sampler"])
    if module.strict_loading:
        refuse_architecture(module, stored)


def compare_optimizers(trainer: Any, found: Mapping[str, Any], own: Mapping[str, Any], lr: str | None) -> None:
    """Refuse optimizers and schedules that are others.

    The states of schedules are given the classes that the schedules have.
    """
    schedulers = [one.scheduler for one in trainer.lr_scheduler_configs]
    for kind, here in (("optimizer", trainer.optimizers), ("scheduler", schedulers)):
        names = [type(one).__name__ for one in here]
        if names != own["classes"][kind]:
            was = own["classes"][kind]
            raise LoadRefusedError(f"{kind}: there were {was}, and there are {names}; {_SAME}")
    rows = Rows()
    for number, (state, optimizer) in enumerate(zip(found[OPTIMIZERS], trainer.optimizers, strict=True)):
        label, groups = label_of("optimizer", number), optimizer.param_groups
        if [len(one["params"]) for one in groups] != [len(one["params"]) for one in state["param_groups"]]:
            raise LoadRefusedError(f"{label}: its groups of parameters were others; {_SAME}")
        rates.compare_groups(rows, label, state["param_groups"], groups, lr)
    rows.raise_refused()
    for row in rows.rows:
        if row.differs:
            _log.warning("%s", row.sentence())
    states = found[SCHEDULERS]
    states[:] = [in_same_classes(state, one.state_dict()) for state, one in zip(states, schedulers, strict=True)]
