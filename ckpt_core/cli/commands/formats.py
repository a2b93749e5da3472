"""`ckpt formats`: list the formats, their readers and their options."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ckpt_core.cli.app import VerbCommand, examples
from ckpt_core.cli.options import completions
from ckpt_core.cli.options.format_flags import kebab
from ckpt_core.cli.output.answer import Answer, Block, Table
from ckpt_core.cli.session import Session, common_options
from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    from ckpt_core.manager.plugin_manager import CkptPluginManager
    from ckpt_core.schema.formats import Format, FormatOption

_HEADERS = ("format", "plugin", "can", "summary")
_METAVARS = {int: "NUMBER", float: "NUMBER"}


@click.command("formats", cls=VerbCommand, epilog=examples("ckpt formats", "ckpt formats hf", "ckpt formats --json"))
@click.argument("name", required=False, shell_complete=completions.all_formats)
@common_options
@click.pass_obj
def command(session: Session, name: str | None) -> Answer:
    """List the formats that can be read or written.

    Of one format, list its options and hints.
    """
    from ckpt_core.manager.plugin_manager import get_plugin_manager

    manager = get_plugin_manager()
    if name is not None:
        session.ref = name
        one = manager.format(name)
        return Answer(lambda: _entry(manager, one), lambda: _page_of_one(manager, one), lambda: [printable(one.name)])
    return Answer(
        result=lambda: {"formats": [_entry(manager, format) for format in manager.formats()]},
        page=lambda: _page(manager),
        brief=lambda: [printable(format.name) for format in manager.formats()],
    )


def _entry(manager: "CkptPluginManager", format: "Format") -> dict[str, Any]:
    return {
        "name": format.name,
        "summary": format.summary,
        "plugin": manager.owner(format.name),
        "base": format.base,
        "reads": format.reads,
        "writes": format.writes.value if format.writes else None,
        "options": [_declared(option) for option in format.options],
        "hints": [_declared(hint) for hint in format.hints],
    }


def _declared(option: "FormatOption") -> dict[str, Any]:
    return {"name": option.name, "type": option.type.__name__, "help": option.help}


def _page(manager: "CkptPluginManager") -> list[Block]:
    rows = [_row(manager, format) for format in manager.formats()]
    return [Table(_HEADERS, rows), "ckpt formats NAME says what a format's options and hints do"]


def _page_of_one(manager: "CkptPluginManager", format: "Format") -> Iterator[Block]:
    yield Table(_HEADERS, [_row(manager, format)])
    if format.options:
        yield Table(("option", "for", "what it does"), [_option_row(option) for option in format.options])
    if format.hints:
        yield Table(("hint", "what it narrows"), [(_flag(hint), printable(hint.help)) for hint in format.hints])


def _row(manager: "CkptPluginManager", format: "Format") -> tuple[str, ...]:
    can = " ".join(word for word, can in (("read", format.reads), ("write", format.writes)) if can) or "-"
    return printable(format.name), printable(manager.owner(format.name) or "-"), can, printable(format.summary)


def _option_row(option: "FormatOption") -> tuple[str, str, str]:
    when = " ".join(word for word, can in (("read", option.reads), ("write", option.writes)) if can) or "-"
    return _flag(option), when, printable(option.help)


def _flag(option: "FormatOption") -> str:
    """`--max-shard-size TEXT`: how a person types it."""
    kind = "" if option.type is bool else f" {_METAVARS.get(option.type, 'TEXT')}"
    return f"--{printable(kebab(option.name))}{kind}"
