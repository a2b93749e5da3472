"""The end of a training that no longer gets better.

Its patience outlives its process.
"""

from collections.abc import Mapping
from math import isnan
from typing import Any

from ckpt_core.arguments import argument
from ckpt_core.errors import UsageError


class EarlyStopping:
    """A count of metrics that were not the best so far.

    Give it to a Checkpointer by a name of its own (`early_stopping=…`); call it with the metrics of each evaluation.

    Args:
        metric: Its name; the least is the best, or the greatest where the name begins with `+`.
        patience: Evaluations without a better value after which to stop.
        min_delta: How much better a value must be to count.

    Attributes:
        best: The best value so far; None where there was none.
        waited: Evaluations since then.
    """

    def __init__(self, metric: str, patience: int, *, min_delta: float = 0.0) -> None:
        if type(patience) is not int or patience < 1:
            raise UsageError(f"{argument('patience')}: a number from 1 on is needed, not {patience!r}")
        self.metric = metric
        self.patience = patience
        self.min_delta = min_delta
        self.best: float | None = None
        self.waited = 0

    def __call__(self, metrics: Mapping[str, float]) -> bool:
        """Take the metrics of an evaluation; return whether to stop.

        Raises:
            UsageError: The metric is not among them.
        """
        name, sign = (self.metric[1:], -1) if self.metric.startswith("+") else (self.metric, 1)
        if name not in metrics:
            known = ", ".join(map(str, metrics)) or "none"
            raise UsageError(f"{argument('metric', self.metric)}: it is not among the metrics ({known})")
        value = sign * float(metrics[name])
        if not isnan(value) and (self.best is None or value < sign * self.best - self.min_delta):
            self.best, self.waited = sign * value, 0
        else:
            self.waited += 1
        return self.stops

    @property
    def stops(self) -> bool:
        """Return whether the patience is over."""
        return self.waited >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, and how often none was better."""
        return {"metric": self.metric, "best": self.best, "waited": self.waited}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on counting; the patience is that of this object.

        Raises:
            UsageError: It counted another metric.
        """
        self.refuse(state_dict)
        self.best, self.waited = state_dict["best"], state_dict["waited"]

    def refuse(self, state_dict: Mapping[str, Any]) -> None:
        """Raise the error with which `load_state_dict` would refuse a state, if any.

        Nothing is changed.
        """
        if state_dict["metric"] != self.metric:
            raise UsageError(
                f"{argument('metric', self.metric)}: the checkpoint's early stopping is of {state_dict['metric']}; "
                "nothing was changed"
            )
