"""Which learning rate counts when a training goes on: the checkpoint's, or that of the loop's own arguments.

Torch takes the checkpoint's in silence; whoever changed the argument trains with the old one.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ckpt_core.arguments import argument
from ckpt_core.errors import LoadRefusedError

Groups = Sequence[Mapping[str, Any]]
"""The `param_groups` of an optimizer."""

CHECKPOINT, ARGUMENT = "checkpoint", "argument"


def base_rates(groups: Groups) -> list[float]:
    """Return the rate of each group before a schedule changed it."""
    return [float(group.get("initial_lr", group["lr"])) for group in groups]


def compare_groups(label: str, stored: Groups, own: Groups, choice: str | None) -> list[str]:
    """Return in words what an optimizer's groups set otherwise than they did, and which of both counts.

    Raises:
        LoadRefusedError: Learning rates differ, and nobody said which count.
    """
    return [*_rates(label, stored, own, choice), *_settings(label, stored, own)]


def _rates(label: str, stored: Groups, own: Groups, choice: str | None) -> Iterator[str]:
    for number, (first, second) in enumerate(zip(base_rates(stored), base_rates(own), strict=True)):
        if first == second:
            continue
        where = f"{label} group {number}"
        if choice is None:
            raise LoadRefusedError(
                f"{where}: the checkpoint's learning rate is {first:g}, the optimizer's is {second:g}; "
                f"say which counts with {argument('lr', CHECKPOINT)} or {argument('lr', ARGUMENT)}; nothing was changed"
            )
        taken, other = (first, second) if choice == CHECKPOINT else (second, first)
        yield f"{where}: learning rate {taken:g}, of the {choice} (the other one is {other:g})"


def _settings(label: str, stored: Groups, own: Groups) -> Iterator[str]:
    for number, (first, second) in enumerate(zip(stored, own, strict=True)):
        for key in sorted(second.keys() & first.keys() - {"params", "lr", "initial_lr"}):
            if first[key] != second[key]:
                other = f"the other one is {second[key]!r}"
                yield f"{label} group {number}: {key} {first[key]!r}, of the checkpoint ({other})"


def set_rates(optimizer: Any, rates: list[float], scheduler: Any | None) -> None:
    """Give an optimizer that was filled other rates; where a schedule had scaled its own, these are scaled as much."""
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        base = float(group.get("initial_lr", group["lr"]))
        factor = float(group["lr"]) / base if base else 1.0
        _assign(group, "lr", rate * factor)
        if "initial_lr" in group:
            _assign(group, "initial_lr", rate)
    if scheduler is not None and hasattr(scheduler, "base_lrs"):
        scheduler.base_lrs = list(rates)
        scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]


def _assign(group: Mapping[str, Any], key: str, value: float) -> None:
    """Set a rate, in its own tensor where it is one: compiled steps hold on to that."""
    if hasattr(group[key], "fill_"):
        group[key].fill_(value)
    else:
        group[key] = value  # type: ignore[index]  # torch's groups are dicts
