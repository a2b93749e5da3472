"""Values that were logged, and averages of the epoch under way.

Lightning begins both anew.

Source: lightning 2.6, `pytorch/trainer/connectors/logger_connector/result.py`; torchmetrics 1.9, `metric.py`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ckpt_core.log import Logger

_log = Logger(__name__)

_COUNT = "cumulated_batch_size"


class Logged:
    """The metrics of a Trainer.

    These are last values, parts of averages, and the states of torchmetrics in its module.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._open: dict[str, Mapping[str, Any]] = {}

    def state(self, *, epoch_too: bool) -> dict[str, Any]:
        """Return the last values of metrics.

        Of an epoch that is under way, the parts of its averages too.
        """
        results = self._trainer.fit_loop.epoch_loop._results if epoch_too else {}
        parts = {
            key: {"value": one.value, **({_COUNT: getattr(one, _COUNT)} if one.meta.is_mean_reduction else {})}
            for key, one in results.items()
            if one.meta.on_epoch and one.is_tensor and not one.has_reset
        }
        last = dict(self._trainer._logger_connector._callback_metrics)
        return {"last": last, "parts": {**parts, **self._open}, "metrics": dict(_states(self._trainer))}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Give metrics their values back.

        Those of an epoch are added once their names are logged again.
        """
        self._trainer._logger_connector._callback_metrics.update(state["last"])
        self._open = dict(state["parts"])
        modules = dict(self._trainer.lightning_module.named_modules())
        for name, held in state["metrics"].items():
            for key, value in held.items():
                setattr(modules[name], key, value)

    def add_open(self) -> None:
        """Add the values of this epoch from before a stop."""
        results = self._trainer.fit_loop.epoch_loop._results
        for key in [key for key in self._open if key in results and not results[key].has_reset]:
            one, held = results[key], self._open.pop(key)
            before = held["value"].to(one.value.device)
            whole = one.meta.is_mean_reduction or one.meta.is_sum_reduction
            one.value = before + one.value if whole else one.meta.reduce_fx(before, one.value)
            if one.meta.is_mean_reduction:
                setattr(one, _COUNT, getattr(one, _COUNT) + held[_COUNT].to(one.value.device))
            one._computed = None

    def end_epoch(self) -> None:
        """Forget what was not logged again."""
        for key in self._open:
            _log.warning("%s: was logged in this epoch before a stop alone, and is left out of its averages", key)
        self._open = {}


def _states(trainer: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the states of each torchmetric of the module.

    Most are in no state_dict.
    """
    from torchmetrics import Metric

    for name, one in trainer.lightning_module.named_modules():
        if isinstance(one, Metric):
            yield name, {**{key: getattr(one, key) for key in one._defaults}, "_update_count": one._update_count}
