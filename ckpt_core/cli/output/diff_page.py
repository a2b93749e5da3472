"""Shows the differences of two checkpoints, as text and as JSON."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ckpt_core.cli.output.answer import Block, Table
from ckpt_core.cli.text import counted
from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    from ckpt_core.verbs.diff import DiffReport, TensorDifference

_Item = TypeVar("_Item")

_NUMBERS = frozenset({"elements", "max abs", "max rel", "cosine"})


def verdict(report: "DiffReport") -> str:
    """Return `identical` or `different`, with what is only absent.

    A tensor may be absent where an identical one stands for it.
    """
    tied = [f"{_short(name)} absent, equals {printable(twin)}" for name, twin in report.tied.items()]
    return "; ".join(["identical" if report.identical else "different", *tied])


def result(report: "DiffReport") -> dict[str, Any]:
    """Return the `result` of the JSON object."""
    return {
        "identical": report.identical,
        "compared": report.compared,
        "only_in_a": report.only_first,
        "only_in_b": report.only_second,
        "components_only_in_a": report.components["first"],
        "components_only_in_b": report.components["second"],
        "tied": report.tied,
        "changed": [
            {
                "component": change.component,
                "name": change.name,
                "dtypes": change.dtypes,
                "shapes": change.shapes,
                "values": None if change.values is None else change.values.as_dict(),
            }
            for change in report.changed
        ],
        "state": report.state,
    }


def page(report: "DiffReport", limit: int) -> Iterator[Block]:
    """Yield the verdict, the differences, and a summary.

    It shows at most `limit` differences of each kind; 0 means all.
    """
    yield f"{verdict(report)}  ({counted(report.compared, 'tensor')} compared)"
    changed = _first(report.changed, limit)
    if changed:
        headers = ("tensor", "dtype", "shape", "elements", "max abs", "max rel", "cosine")
        yield Table(headers, (_row(change) for change in changed), _NUMBERS)
        yield from _more(report.changed, limit)
    for side, names, labels in (
        ("A", report.only_first, report.components["first"]),
        ("B", report.only_second, report.components["second"]),
    ):
        yield from (f"only in {side}: component {printable(label)}" for label in labels)
        yield from (f"only in {side}: {_short(name)}" for name in _first(names, limit))
        yield from _more(names, limit)
    yield from (f"state differs: {printable(path)}" for path in _first(report.state, limit))
    yield from _more(report.state, limit)
    if not report.identical:
        yield f"in all: {summary(report)}"


def _first(items: Sequence[_Item], limit: int) -> Sequence[_Item]:
    return items[:limit] if limit else items


def _more(items: Sequence[Any], limit: int) -> Iterator[str]:
    if limit and len(items) > limit:
        yield f"… and {len(items) - limit:,} more; --limit 0 shows all"


def summary(report: "DiffReport") -> str:
    """Return the summary that a person keeps.

    It says how many tensors differ, of which components, and what else does.
    """
    by_component = Counter(change.component for change in report.changed)
    where = ", ".join(f"{printable(label)} {count:,}" for label, count in by_component.items())
    tensors = f"{len(report.changed):,} of {counted(report.compared, 'tensor')} differ"
    parts = [f"{tensors} ({where})" if len(by_component) > 1 else tensors]
    for side, names, labels in (
        ("A", report.only_first, report.components["first"]),
        ("B", report.only_second, report.components["second"]),
    ):
        parts += [f"{counted(len(labels), 'component')} only in {side}"] if labels else []
        parts += [f"{counted(len(names), 'tensor')} only in {side}"] if names else []
    if report.state:
        parts.append(f"{len(report.state):,} of the plain state")
    return ", ".join(parts)


def _row(change: "TensorDifference") -> tuple[str, ...]:
    place = _short(f"{change.component}/{change.name}"), _both(*change.dtypes), _both(*map(_shape, change.shapes))
    values = change.values
    if values is None:
        return *place, "", "", "", ""
    cosine = "" if values.cosine is None else f"{values.cosine:.6f}"
    return *place, f"{values.elements:,}", f"{values.max_abs:.3g}", f"{values.max_rel:.3g}", cosine


def _short(name: str) -> str:
    """A tensor's name with its component, which the model's go without."""
    return printable(name.removeprefix("model/"))


def _both(first: str, second: str) -> str:
    return first if first == second else f"{first} -> {second}"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
