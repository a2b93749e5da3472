"""`ckpt diff`: whether two checkpoints are the same, and where they are not."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ckpt_core.cli.app import OpeningCommand, examples
from ckpt_core.cli.options import completions
from ckpt_core.cli.options.refs import place_options, ref_argument
from ckpt_core.cli.output.answer import Answer, Block, Table
from ckpt_core.cli.session import Session, common_options
from ckpt_core.cli.text import counted
from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    from ckpt_core.verbs.diff import DiffReport, TensorDifference

_Item = TypeVar("_Item")

_DIFFERENT = 1
_NUMBERS = frozenset({"elements", "max abs", "max rel", "cosine"})


_EXAMPLES = examples(
    "ckpt diff step_100.pt step_200.pt",
    "ckpt diff model.pth model.safetensors -q",
    "ckpt diff a.pt b.pt --component optimizer",
)


@click.command("diff", cls=OpeningCommand, epilog=_EXAMPLES)
@ref_argument("a", required=True)
@ref_argument("b", required=True)
@place_options
@click.option(
    "--component",
    metavar="LABEL",
    shell_complete=completions.components,
    help="Compare this component only, for instance model or optimizer.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=50,
    show_default=True,
    metavar="NUMBER",
    help="Show at most so many differences of each kind; 0 for all. --json has all of them.",
)
@click.option("--accept-damage", is_flag=True, help="Compare what is there, whether or not it matches its checksums.")
@common_options
@click.pass_obj
def command(
    session: Session,
    a: str,
    b: str,
    hints: dict[str, str],
    format: str | None,
    component: str | None,
    limit: int,
    accept_damage: bool,
) -> Answer:
    """Compare two checkpoints: names, shapes, types, values and plain state.

    Ends with 0 where they are the same, with 1 where they differ, with 4 where one of them is damaged.
    """
    from ckpt_core.verbs.diff import diff

    with session.progress() as progress:
        report = diff(
            a,
            b,
            component=component,
            hints=hints,
            format=format,
            options=session.options,
            accept_damage=accept_damage,
            progress=progress,
        )
    return Answer(
        result=lambda: _result(report),
        page=lambda: _page(report, limit),
        brief=lambda: [_verdict(report)],
        exit_code=0 if report.identical else _DIFFERENT,
    )


def _verdict(report: "DiffReport") -> str:
    tied = [f"{_short(name)} absent, equals {printable(twin)}" for name, twin in report.tied.items()]
    return "; ".join(["identical" if report.identical else "different", *tied])


def _result(report: "DiffReport") -> dict[str, Any]:
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


def _page(report: "DiffReport", limit: int) -> Iterator[Block]:
    yield f"{_verdict(report)}  ({counted(report.compared, 'tensor')} compared)"
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
        yield f"in all: {_summary(report)}"


def _first(found: Sequence[_Item], limit: int) -> Sequence[_Item]:
    return found[:limit] if limit else found


def _more(found: Sequence[Any], limit: int) -> Iterator[str]:
    if limit and len(found) > limit:
        yield f"… and {len(found) - limit:,} more; --limit 0 shows all"


def _summary(report: "DiffReport") -> str:
    """What a person keeps of it: how many tensors differ, of which components, and what else does."""
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
