"""Checkpoints and answers as one line or a notebook table.

Nothing here reads a tensor.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ckpt_core.schema.text import human_bytes, printable

if TYPE_CHECKING:
    from ckpt_core.schema.manifests import Component

_SHOWN = 6
"""Components that a line names."""

_ROWS = 50
"""Rows of a table."""


def tensors_and_bytes(component: "Component") -> tuple[int, int]:
    """Return a component's number of tensors and their bytes.

    Bytes that an alias shares count once.
    """
    infos = [info for _, info in component.tensors.infos()]
    return len(infos), sum(info.nbytes for info in infos if info.alias_of is None)


def components_line(components: "Sequence[Component]") -> str:
    """Return `model (2 tensors, 24 B), optimizer (state)`."""
    parts = [f"{printable(one.label, 60)} ({_held(one)})" for one in components[:_SHOWN]]
    return ", ".join([*parts, *_more(len(components))]) or "no component"


def html_table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table of plain HTML, everything in it escaped."""
    from html import escape

    cells = [[escape(printable(str(cell))) for cell in row] for row in rows]
    shown = [f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in cells[:_ROWS]]
    if len(cells) > _ROWS:
        shown.append(f"<tr><td colspan='{len(header)}'>{len(cells) - _ROWS} more</td></tr>")
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    return f"<p>{escape(title)}</p><table><thead><tr>{head}</tr></thead><tbody>{''.join(shown)}</tbody></table>"


def components_html(title: str, components: "Sequence[Component]") -> str:
    """Return a table with a row for each component."""
    rows = []
    for one in components:
        count, nbytes = tensors_and_bytes(one)
        rows.append((one.label, f"{count:,}", human_bytes(nbytes), "yes" if one.state is not None else "-"))
    return html_table(title, ("component", "tensors", "size", "state"), rows)


def _held(component: "Component") -> str:
    count, nbytes = tensors_and_bytes(component)
    if not count:
        return "state" if component.state is not None else "empty"
    return f"{count:,} {'tensor' if count == 1 else 'tensors'}, {human_bytes(nbytes)}"


def _more(count: int) -> list[str]:
    return [f"{count - _SHOWN} more"] if count > _SHOWN else []
