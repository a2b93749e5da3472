"""`ckpt plugins`: list what is installed, and what is broken.

Of the rest it says why it does not work.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ckpt_core.cli.app import VerbCommand, examples
from ckpt_core.cli.output.answer import Answer, Block, Table
from ckpt_core.cli.session import Session, common_options
from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    from ckpt_core.manager.plugin_manager import PluginStatus


@click.command("plugins", cls=VerbCommand, epilog=examples("ckpt plugins", "ckpt plugins --json"))
@common_options
@click.pass_obj
def command(session: Session) -> Answer:
    """List the plugins, and what is wrong with them."""
    from ckpt_core.manager.plugin_manager import get_plugin_manager

    statuses = get_plugin_manager().status_report()
    return Answer(
        result=lambda: {"plugins": [_entry(status) for status in statuses]},
        page=lambda: _page(statuses),
        brief=lambda: [printable(status.name) for status in statuses if status.problem is None],
    )


def _health(status: "PluginStatus") -> str:
    return "healthy" if status.problem is None else "too new" if status.too_new else "broken"


def _entry(status: "PluginStatus") -> dict[str, Any]:
    return {
        "name": status.name,
        "health": _health(status),
        "origin": status.origin,
        "version": status.version,
        "formats": status.formats,
        "hooks": status.hooks,
        "problem": status.problem,
    }


def _page(statuses: Sequence["PluginStatus"]) -> list[Block]:
    rows = [
        (
            printable(status.name),
            _health(status),
            printable(f"{status.origin}"),
            ", ".join(map(printable, status.formats)) or "-",
            ", ".join(status.hooks) or "-",
        )
        for status in statuses
    ]
    problems = [
        f"{printable(status.name)}: {printable(status.problem, 2000)}"
        for status in statuses
        if status.problem is not None
    ]
    return [Table(("plugin", "health", "origin", "formats", "hooks"), rows), *problems]
