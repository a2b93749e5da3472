"""The options of commands that write a checkpoint to another place."""

from collections.abc import Callable
from typing import Any

import click

from ckpt_core.cli.options import completions

_Command = Callable[..., Any]
_Declared = Callable[[_Command], _Command]


def selection_options(*, component: str, include: str, exclude: str) -> _Declared:
    """Declare `--component`, `--include` and `--exclude`, each with its help.

    The command gets them as `components`, `include` and `exclude`, tuples of text.
    """
    of_checkpoint = completions.components
    return _all(
        click.option(
            "--component", "components", multiple=True, metavar="LABEL", shell_complete=of_checkpoint, help=component
        ),
        click.option("--include", multiple=True, metavar="GLOB", help=include),
        click.option("--exclude", multiple=True, metavar="GLOB", help=exclude),
    )


def destination_options(*, whole: str, shown: str) -> _Declared:
    """Declare `--force` and `--dry-run`.

    Args:
        whole: What must be whole before anything is replaced.
        shown: What a dry run shows.
    """
    return _all(
        click.option("--force", is_flag=True, help=f"Replace what is at the destination, once the {whole} is whole."),
        click.option("--dry-run", is_flag=True, help=f"Show what would be {shown}, and write nothing."),
    )


def _all(*options: _Declared) -> _Declared:
    def declare(function: _Command) -> _Command:
        for option in reversed(options):
            function = option(function)
        return function

    return declare
