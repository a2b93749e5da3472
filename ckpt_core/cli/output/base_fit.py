"""Shows how a checkpoint fits a base model.

A person and `--json` are told what was done to it, or what is wrong.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ckpt_core.cli.output.answer import Answer, Block, Table
from ckpt_core.cli.text import counted
from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    from ckpt_core.cli.session import Session
    from ckpt_core.errors import BaseMismatchError
    from ckpt_core.reading.base_model.fit import Fit

_SHOWN = 10
"""Rows of each kind that a person is shown."""


def fit_lines(one: "Fit") -> Iterator[str]:
    """Yield the lines about a component that fits."""
    number = counted(len(one.matched) + len(one.taken), "tensor")
    yield f"{printable(one.component)}: {number}, as in the base's {printable(one.base)}"
    for name, how in one.rearranged.items():
        yield f"  {how.operation}: {printable(name)}  {_shape(how.source)} -> {_shape(how.target)}"
    if one.taken:
        yield f"  taken from the base, for the checkpoint lacks them: {_names(one.taken)}"
    if one.left_out:
        yield f"  left out, for the base lacks them: {_names(one.left_out)}"
    if one.stripped:
        yield "  taken off the names: " + ", ".join(
            f"{printable(part)}. ({counted(count, 'time')})" for part, count in one.stripped.items()
        )


def fit_as_dict(one: "Fit") -> dict[str, Any]:
    """All of it, as data."""
    return {
        "component": one.component,
        "base_component": one.base,
        "matched": len(one.matched),
        "rearranged": {name: how.operation for name, how in one.rearranged.items()},
        "taken_from_base": one.taken,
        "tied": one.tied,
        "left_out": one.left_out,
        "stripped": one.stripped,
        "missing": one.missing,
        "extra": one.extra,
        "mismatched": {
            name: {"dtypes": [dtype.code for dtype in mismatch.dtypes], "shapes": mismatch.shapes}
            for name, mismatch in one.mismatched.items()
        },
    }


def refused(session: "Session", error: "BaseMismatchError") -> Answer:
    """Return the answer where nothing was written.

    The table goes to stderr, all of it into `--json`.
    """
    if session.speaks and not session.json and not session.quiet:
        from ckpt_core.cli.output.tables import print_blocks

        print_blocks((block for one in error.fits for block in _what_is_wrong(one)), sys.stderr)
    return Answer(
        result=lambda: {"structure": [fit_as_dict(one) for one in error.fits]},
        page=tuple,
        brief=tuple,
        error=error,
    )


def _what_is_wrong(one: "Fit") -> Iterator[Block]:
    counts = f"{len(one.missing)} missing, {len(one.extra)} extra, {len(one.mismatched)} mismatched"
    yield f"{printable(one.component)} against the base's {printable(one.base)}: {len(one.matched)} matched, {counts}"
    rows = [
        *_rows("missing", [(name, "", "") for name in one.missing]),
        *_rows("extra", [(name, "", "") for name in one.extra]),
        *_rows(
            "mismatched",
            [
                (name, *(f"{dtype.code} {_shape(shape)}" for dtype, shape in zip(m.dtypes, m.shapes, strict=True)))
                for name, m in one.mismatched.items()
            ],
        ),
    ]
    yield Table(("", "tensor", "checkpoint", "base"), rows)


def _rows(word: str, rows: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    for name, *rest in rows[:_SHOWN]:
        yield word, printable(name), *rest
    if len(rows) > _SHOWN:
        yield word, f"… {len(rows) - _SHOWN} more", *("" for _ in rows[0][1:])


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _names(names: Sequence[str]) -> str:
    more = f", … {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(printable, names[:_SHOWN])) + more
