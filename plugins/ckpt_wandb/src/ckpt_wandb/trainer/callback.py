"""Steps after transformers' Trainer has restored a checkpoint.

They come before its first step.
"""

from typing import Any, Protocol

from ckpt_core import LoadError, UsageError


class Resumed(Protocol):
    """The part of a `Resumption` that the callback goes by."""

    @property
    def ref(self) -> str: ...
    @property
    def lr_from(self) -> str | None: ...


def resume_callback(resumption: Resumed) -> Any:
    """Return the callback of a resumption.

    Importing transformers takes seconds, so its class is made here.
    """
    from transformers import TrainerCallback

    class ResumeCallback(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            _check_steps(resumption, state)
            settle_learning_rate(resumption, args.learning_rate, given.get("optimizer"), given.get("lr_scheduler"))

    return ResumeCallback()


def _check_steps(resumption: Resumed, state: Any) -> None:
    if state.global_step >= state.max_steps:
        raise UsageError(
            f"{resumption.ref}: is at step {state.global_step}, and this training ends at step {state.max_steps}: "
            "nothing would be done; give more epochs or steps, or start anew"
        )


def settle_learning_rate(resumption: Resumed, asked: float, optimizer: Any, scheduler: Any) -> None:
    """Give the restored optimizer and scheduler the learning rate that was chosen.

    Args:
        resumption: Says which (`lr_from`).
        asked: The training's own, before its schedule.
        optimizer: With the checkpoint's state.
        scheduler: With the checkpoint's state; None where there is none.

    Raises:
        LoadError: They differ, and nobody has said which holds.
    """
    import logging

    inner = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it
    groups = inner.param_groups
    restored = groups[0].get("initial_lr", groups[0]["lr"])
    if restored == asked or resumption.lr_from == "checkpoint":
        logging.getLogger(__name__).info("learning rate %g, of the checkpoint", restored)
        return
    if resumption.lr_from is None:
        raise LoadError(
            f"{resumption.ref}: has the learning rate {restored:g}, and this training {asked:g}; "
            "say which holds: --lr_from checkpoint, or --lr_from argument"
        )
    for group in groups:
        before = group.get("initial_lr", group["lr"])
        factor = asked / restored if restored else 1.0
        group["lr"] = group["lr"] * factor if restored else asked
        group["initial_lr"] = before * factor if restored else asked
    plan = getattr(scheduler, "scheduler", scheduler)
    if hasattr(plan, "base_lrs"):
        plan.base_lrs = [group["initial_lr"] for group in groups]
    logging.getLogger(__name__).info("learning rate %g, in place of the checkpoint's %g", asked, restored)
