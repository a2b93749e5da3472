"""The checkpoints of a run to keep at a new commit."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan

from ckpt_core.arguments import argument
from ckpt_core.errors import UsageError


@dataclass(frozen=True, slots=True)
class Keep:
    """The rules of keeping.

    A checkpoint is kept where one of them holds for it, and the newest always.

    Attributes:
        last: So many of the newest; 0 for the newest alone where another rule keeps more.
        every: Those whose step is a multiple of this; None for none by their step.
        best: Of the metric of this name, the one with the least value, or the greatest where the name begins with `+`:
            `val_loss`, `+accuracy`. None for none by a metric.
        seconds: The first, and then each that was committed so long after the one before that is kept: one an hour.
            None for none by the time.
        thin_every: Those whose step is a multiple of this, and that nothing else holds for, stay without their
            optimizer: good for evaluation, and not to be gone on from. None for none.
        recoverable: What no rule holds for is put aside, and stays on the disk until it is removed for good: `undelete`
            brings it back. In a folder of this machine only.
    """

    last: int = 1
    every: int | None = None
    best: str | None = None
    seconds: float | None = None
    recoverable: bool = False
    thin_every: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("last", 0), ("every", 1), ("thin_every", 1)):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < least):
                raise UsageError(f"{argument(name)}: a number from {least} on is needed, not {value!r}")

        if self.seconds is not None and not (isinstance(self.seconds, int | float) and self.seconds > 0):
            raise UsageError(f"{argument('seconds')}: a number of seconds is needed, not {self.seconds!r}")

    def kept(self, metrics: Mapping[int, Mapping[str, float]], times: Callable[[int], float] | None = None) -> set[int]:
        """Return the steps that are kept.

        The steps come with the metrics of each.

        Args:
            metrics: The metrics of each.
            times: Gives the second at which a step was committed; needed where `seconds` is set.
        """
        steps = sorted(metrics)
        found = set(steps[-max(self.last, 1) :])
        if self.every is not None:
            found |= {step for step in steps if step % self.every == 0}
        if self.seconds is not None and times is not None:
            found |= set(_apart(steps, times, self.seconds))
        return found | set(self._best(steps, metrics))

    def is_thin(self, step: int) -> bool:
        """Return whether a checkpoint stays without its optimizer.

        One that nothing else holds for.
        """
        return self.thin_every is not None and step % self.thin_every == 0

    def _best(self, steps: Sequence[int], metrics: Mapping[int, Mapping[str, float]]) -> list[int]:
        if self.best is None:
            return []
        name, sign = (self.best[1:], -1) if self.best.startswith("+") else (self.best, 1)
        known = [
            (sign * metrics[step][name], step) for step in steps if not isnan(metrics[step].get(name, float("nan")))
        ]
        return [min(known)[1]] if known else []


def _apart(steps: Sequence[int], times: Callable[[int], float], seconds: float) -> Iterator[int]:
    """Yield the first step, and each that is so much later.

    Than the one before of these.
    """
    last: float | None = None
    for step in steps:
        at = times(step)
        if last is None or at >= last + seconds:
            last = at
            yield step
