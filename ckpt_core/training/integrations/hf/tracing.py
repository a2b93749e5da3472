"""A Trainer whose resume is proved.

It writes down each step, as a Checkpointer does.
"""

from typing import Any

from ckpt_core.training.objects import bare
from ckpt_core.training.proving.trace import Trace, trace_of


def tracer_of(trainer: Any) -> Any:
    """Return the callback that writes down the steps of a proof.

    What it has of a step is the loss that was added up since the last one that was logged.
    """
    from transformers import TrainerCallback

    class Tracer(TrainerCallback):  # type: ignore[misc]
        trace: Trace | None = None
        resumed = False

        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            named = {"model": bare(given["model"]), "optimizer": given["optimizer"], "scheduler": given["lr_scheduler"]}
            self.trace = trace_of({label: one for label, one in named.items() if one is not None})

        def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if self.trace is not None and not self.resumed:
                self.resumed = True
                if state.global_step:
                    # an evaluation may have drawn between the step that was written down and its save
                    self.trace.resumed(state.global_step, without=("rng",))

        def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if self.trace is not None:
                self.trace.after_step(state.global_step, {"loss": float(trainer._tr_loss)})

        def on_save(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if self.trace is not None:
                self.trace.saved(state.global_step)

    return Tracer()
