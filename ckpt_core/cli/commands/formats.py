"""`ckpt formats`: what can be read, who reads it, and the options each format adds to the command line."""

from typing import TYPE_CHECKING, Any

import click

from ckpt_core.cli.app import VerbCommand
from ckpt_core.cli.output.answer import Answer, Block, Table
from ckpt_core.cli.session import Session, common_options
from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    from ckpt_core.manager.plugin_manager import CkptPluginManager
    from ckpt_core.schema.formats import Format


@click.command("formats", cls=VerbCommand)
@common_options
@click.pass_obj
def command(session: Session) -> Answer:
    """List the formats that can be read, and their options."""
    from ckpt_core.manager.plugin_manager import get_plugin_manager

    manager = get_plugin_manager()
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
        "options": [
            {"name": option.name, "type": option.type.__name__, "help": option.help} for option in format.options
        ],
    }


def _page(manager: "CkptPluginManager") -> list[Block]:
    rows = [
        (
            printable(format.name),
            printable(manager.owner(format.name) or "-"),
            " ".join(word for word, can in (("read", format.reads), ("write", format.writes)) if can) or "-",
            printable(format.summary),
        )
        for format in manager.formats()
    ]
    options = [
        f"{printable(format.name)}: --{printable(option.name)} ({option.type.__name__}): {printable(option.help)}"
        for format in manager.formats()
        for option in format.options
    ]
    return [Table(("format", "plugin", "can", "summary"), rows), *options]
