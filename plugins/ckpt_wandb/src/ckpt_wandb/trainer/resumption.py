"""A checkpoint that a training goes on from.

Here is what transformers' Trainer is given for it, too.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpt_core import CorruptError, printable


@dataclass(frozen=True, slots=True)
class Resumption:
    """The checkpoint that a training goes on from.

    Attributes:
        path: The checkpoint's folder on this machine: `trainer.train(resume_from_checkpoint=path)`.
        ref: What it was downloaded from, pinned; a path where it was here already.
        digest: Of the artifact's manifest; "" of a path.
        step: How many steps were done; None where it is not recorded.
        epoch: How many epochs were done.
        best_metric: The best value of the metric that early stopping goes by.
        run_id: The run that logged the artifact: `wandb.init(id=run_id, resume="must")` goes on with it.
        lr_from: `argument` or `checkpoint`; None where nobody has said.
        not_better: How many evaluations in a row were not better, when it was saved: of them early stopping has its
            patience.
    """

    path: str
    ref: str
    digest: str
    step: int | None
    epoch: float | None
    best_metric: float | None
    run_id: str | None
    lr_from: str | None
    not_better: int = 0

    def early_stopping(self, patience: int, threshold: float = 0.0) -> Any:
        """Return transformers' `EarlyStoppingCallback`, which goes on counting where the checkpoint stopped.

        By itself the Trainer restores the best metric, and begins to count anew: a training that is interrupted often
        enough never stops.

        Args:
            patience: Evaluations in a row that may be not better, those before the interruption included.
            threshold: By how much an evaluation must be better.
        """
        from transformers import EarlyStoppingCallback

        made = EarlyStoppingCallback(patience, threshold)
        made.early_stopping_patience_counter = self.not_better
        return made

    def callback(self) -> Any:
        """Return a callback for transformers' Trainer.

        It sees to the learning rate, and that a step is left to do.

        Before the first step it raises LoadError where the learning rate of the checkpoint is another than the
        training's and nobody has said which holds, and UsageError where no step would be done.
        """
        from ckpt_wandb.trainer.callback import resume_callback

        return resume_callback(self)


def recorded(path: str, *, ref: str, digest: str, run_id: str | None, lr_from: str | None) -> Resumption:
    """The resumption of a folder, with what its `trainer_state.json` records.

    Raises:
        CorruptError: That file is no JSON object.
    """
    state = _state(Path(path) / "trainer_state.json")
    return Resumption(
        path=path,
        ref=ref,
        digest=digest,
        step=state.get("global_step"),
        epoch=state.get("epoch"),
        best_metric=state.get("best_metric"),
        run_id=run_id,
        lr_from=lr_from,
        not_better=_not_better(state),
    )


def _not_better(state: Mapping[str, Any]) -> int:
    """Return the count of the EarlyStoppingCallback.

    Source: transformers, `TrainerState.stateful_callbacks`.
    """
    kept = state.get("stateful_callbacks")
    one = kept.get("EarlyStoppingCallback") if isinstance(kept, dict) else None
    counts = one.get("attributes") if isinstance(one, dict) else None
    found = counts.get("early_stopping_patience_counter") if isinstance(counts, dict) else None
    return found if type(found) is int and found >= 0 else 0


def _state(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise CorruptError(f"{printable(str(path))}: no JSON object; take another checkpoint", path=path.name)
    return found
