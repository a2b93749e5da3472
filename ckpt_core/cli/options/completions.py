"""Answers a shell's Tab.

It offers stages and paths for refs, formats, types of elements, and components of a checkpoint.
"""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from ckpt_core.schema.formats import Format

_TYPES = ("bf16", "f16", "f32", "f64", "fp16", "fp32", "bfloat16", "float16", "float32", "float64", "half")


def refs(_: click.Context, __: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Return paths, which the shell completes itself.

    Where a stage begins so, it is the stages and what lies here.
    """
    from click.shell_completion import CompletionItem

    stages = [stage for format in _formats() for stage in format.stages if incomplete and stage.startswith(incomplete)]
    if not stages:
        return [CompletionItem(incomplete, type="file")]
    return _items([*stages, *_here(incomplete)], incomplete)


def folders(_: click.Context, __: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Directories, as the shell completes them itself."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="dir")]


def readable_formats(_: click.Context, __: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Names of the formats that can be read."""
    return _items((format.name for format in _formats() if format.reads), incomplete)


def writable_formats(_: click.Context, __: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Names of the formats that can be written."""
    return _items((format.name for format in _formats() if format.writes), incomplete)


def all_formats(_: click.Context, __: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Names of all formats."""
    return _items((format.name for format in _formats()), incomplete)


def element_types(_: click.Context, __: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Return the values of `--dtype`, behind `GLOB=` too."""
    glob, equals, typed = incomplete.rpartition("=")
    return _items((f"{glob}{equals}{name}" for name in _TYPES if name.startswith(typed)), incomplete)


def components(_: click.Context, __: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Return the components of the line's first checkpoint.

    Where none opens, it is the kinds that there are.
    """
    from ckpt_core.errors import CkptError
    from ckpt_core.schema.kinds import KINDS
    from ckpt_core.verbs.load import load

    for word in _words_typed():
        if os.path.exists(word):
            try:
                stored = load(word).manifest.components
            except (CkptError, OSError):
                continue  # what is wrong with it is said when the command runs
            return _items((component.label for component in stored), incomplete)
    return _items(KINDS, incomplete)


def flags(command: click.Command, known: Iterable[str], incomplete: str) -> "list[CompletionItem]":
    """Options of formats and hints, beside those of the command itself."""
    own = {name for parameter in command.params for name in parameter.opts}
    return _items(sorted({*known} - own), incomplete)


def _words_typed() -> list[str]:
    from click.shell_completion import split_arg_string

    return split_arg_string(os.environ.get("COMP_WORDS", ""))[2:]


def _here(incomplete: str) -> list[str]:
    try:
        entries = sorted(os.scandir(), key=lambda entry: entry.name)
    except OSError:
        return []
    return [
        f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries if entry.name.startswith(incomplete)
    ]


def _items(values: Iterable[str], incomplete: str) -> "list[CompletionItem]":
    from click.shell_completion import CompletionItem

    return [CompletionItem(value) for value in dict.fromkeys(values) if value.startswith(incomplete)]


def _formats() -> "Iterable[Format]":
    from ckpt_core.manager.plugin_manager import get_plugin_manager

    return get_plugin_manager().formats()
