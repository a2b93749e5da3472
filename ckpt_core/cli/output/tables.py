"""Prints lines and tables on stdout.

They are drawn by rich on a terminal, and stand in plain aligned columns anywhere else.
"""

import sys
from collections.abc import Iterable, Iterator
from typing import TextIO

from ckpt_core.cli.output.answer import Block, Table
from ckpt_core.cli.output.terminal import fitted

_GAP = "  "


def print_blocks(blocks: Iterable[Block], stream: TextIO | None = None) -> None:
    """Print the blocks that a person reads.

    Cells and lines are printed as they are, never read as markup.
    """
    stream = stream or sys.stdout
    drawn = stream.isatty()
    for block in blocks:
        if isinstance(block, str):
            stream.write(f"{fitted(block, stream)}\n")
        elif drawn:
            _draw(block, stream)
        else:
            stream.writelines(f"{line}\n" for line in plain_lines(block))


def plain_lines(table: Table) -> Iterator[str]:
    """The table in columns as wide as their widest cell, headers first."""
    rows = [list(table.headers), *(list(row) for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = [header in table.right for header in table.headers]
    for row in rows:
        cells = zip(row, widths, right, strict=True)
        yield _GAP.join(cell.rjust(width) if number else cell.ljust(width) for cell, width, number in cells).rstrip()


def _draw(table: Table, stream: TextIO) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    drawn = RichTable(box=box.SIMPLE_HEAD, header_style="bold cyan", pad_edge=False)
    for header in table.headers:
        drawn.add_column(header, justify="right" if header in table.right else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(cell) for cell in row))
    console.print(drawn)
