"""The learning rate that counts when a training goes on.

The checkpoint's, or that of the loop's own arguments.

Torch takes the checkpoint's in silence; whoever changed the argument trains with the old one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ckpt_core.arguments import argument
from ckpt_core.errors import LoadRefusedError
from ckpt_core.training.planning.rows import Rows

Groups = Sequence[Mapping[str, Any]]
"""The `param_groups` of an optimizer."""

CHECKPOINT, ARGUMENT = "checkpoint", "argument"


def base_rates(groups: Groups) -> list[float]:
    """Return the rate of each group before a schedule changed it."""
    return [float(group.get("initial_lr", group["lr"])) for group in groups]


def compare_groups(rows: Rows, label: str, stored: Groups, own: Groups, choice: str | None) -> None:
    """Add rows of an optimizer's groups.

    What they set, and which of both counts.

    Learning rates that differ are refused where nobody said which count.
    """
    for number, (first, second) in enumerate(zip(base_rates(stored), base_rates(own), strict=True)):
        compare_rates(rows, f"{label} group {number}", first, second, choice)
    for number, (saved, given) in enumerate(zip(stored, own, strict=True)):
        for key in sorted(given.keys() & saved.keys() - {"params", "lr", "initial_lr"}):
            if saved[key] != given[key]:
                rows.compare(f"{label} group {number}: {key}", saved[key], given[key], saved_counts=True)


def compare_rates(rows: Rows, where: str, saved: float, given: float, choice: str | None) -> None:
    """Add the row of a learning rate, before any schedule.

    The choice is needed where both differ.
    """
    what = f"{where}: learning rate"
    if saved == given or choice is not None:
        rows.compare(what, saved, given, saved_counts=choice == CHECKPOINT)
        return
    message = (
        f"{where}: the checkpoint's learning rate is {saved:g}, the optimizer's is {given:g}; "
        f"say which counts with {argument('lr', CHECKPOINT)} or {argument('lr', ARGUMENT)}; nothing was changed"
    )
    rows.refuse(what, LoadRefusedError(message), saved, given)


def set_rates(optimizer: Any, rates: list[float], scheduler: Any | None) -> None:
    """Give an optimizer that was filled other rates.

    Where a schedule had scaled its own, these are scaled as much.
    """
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
    """Set a rate, in its own tensor where it is one.

    Compiled steps hold on to that.
    """
    if hasattr(group[key], "fill_"):
        group[key].fill_(value)
    else:
        group[key] = value  # type: ignore[index]  # torch's groups are dicts
