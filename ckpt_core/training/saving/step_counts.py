"""The steps that an optimizer has counted itself.

They are held against those that a training says it has done.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any

from ckpt_core.log import Logger

_log = Logger(__name__)

_DIFFER = "TS003"
_LOOKED_AT = 32


class StepCounts:
    """The two counts when they were last compared.

    A difference is said once.

    Args:
        optimizer: The optimizer; None where a training has none.
        may_skip: Whether something leaves out steps, as a scaler of losses does where gradients overflow.
    """

    def __init__(self, optimizer: Any, *, may_skip: bool) -> None:
        self._optimizer = optimizer
        self._may_skip = may_skip
        self._said = False
        self._known: tuple[int, int] | None = (0, 0) if counted(optimizer) is None else None

    def begin(self, step: int) -> None:
        """Take the counts as they are for right.

        The training was just filled from a checkpoint.
        """
        own = counted(self._optimizer)
        self._known = None if own is None else (step, own)

    def compare(self, step: int) -> None:
        """Say TS003 where the optimizer has done other steps.

        Another number of them since than the training counts.
        """
        own, known = counted(self._optimizer), self._known
        if own is None:
            return
        self._known = (step, own)
        if known is None or self._said:
            return
        done, said = own - known[1], step - known[0]
        if done != said and not (self._may_skip and 0 < done < said):
            self._said = True
            _log.warning(
                "%s step %d: the optimizer has done %d steps since step %d, and the training counts %d",
                _DIFFER,
                step,
                done,
                known[0],
                said,
            )


def counted(optimizer: Any) -> int | None:
    """Return the most steps that an optimizer has counted of a parameter.

    None where it counts none, or on a device.

    The first parameters tell it: to look at thousands would hold up the loop.
    """
    state = getattr(optimizer, "state", None)
    fields = islice(state.values(), _LOOKED_AT) if isinstance(state, Mapping) else ()
    counts = [one.get("step") for one in fields if isinstance(one, Mapping)]
    return max((int(count) for count in counts if count is not None and _is_number(count)), default=None)


def _is_number(value: Any) -> bool:
    """Return whether a count can be looked at for nothing.

    One on a device would wait for it.
    """
    return type(value) in (int, float) or (hasattr(value, "is_cpu") and value.is_cpu and value.numel() == 1)
