"""`ckpt log`: list the versions of a store."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ckpt_core.cli.app import VerbCommand, examples
from ckpt_core.cli.options.refs import storage_option
from ckpt_core.cli.output.answer import Answer, Block, Table
from ckpt_core.cli.output.versions import as_result, metrics_of, moment_of, origin_of
from ckpt_core.cli.session import Session, common_options
from ckpt_core.cli.text import counted, human_bytes, shown_place
from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    from ckpt_core.verbs.versions.history import VersionList


@click.command("log", cls=VerbCommand, epilog=examples("ckpt log s3://bucket/versions", "ckpt log versions --json"))
@click.argument("store", metavar="STORE")
@storage_option
@common_options
@click.pass_obj
def command(session: Session, /, store: str) -> Answer:
    """List the versions of STORE, the newest first.

    Each with its step, metrics, size, the bytes that were stored for it, and where it came from.
    """
    from ckpt_core.verbs.versions.history import list_versions

    session.ref = shown_place(store)
    found = list_versions(store)
    return Answer(lambda: _result(found), lambda: _page(found), lambda: [one.name for one in found.versions])


def _names(found: "VersionList", number: int) -> list[str]:
    return sorted(name for name, one in found.aliases.items() if one == number)


def _result(found: "VersionList") -> dict[str, Any]:
    versions = [as_result(one, _names(found, one.number)) for one in found.versions]
    pruned = [f"v{number}" for number in found.pruned]
    aliases = {name: f"v{number}" for name, number in found.aliases.items()}
    return {"store": found.store, "versions": versions, "aliases": aliases, "pruned": pruned}


def _page(found: "VersionList") -> Iterator[Block]:
    rows = [
        (
            one.name,
            "-" if one.step is None else str(one.step),
            moment_of(one),
            one.format,
            human_bytes(one.size),
            human_bytes(one.new),
            metrics_of(one),
            ", ".join(printable(name, 80) for name in (*_names(found, one.number), *(f"#{tag}" for tag in one.tags))),
            origin_of(one),
        )
        for one in reversed(found.versions)
    ]
    headers = ("version", "step", "published", "format", "size", "new", "metrics", "aliases, #tags", "from")
    yield Table(headers, rows, frozenset({"step", "size", "new"}))
    gone = f"; {len(found.pruned)} pruned" if found.pruned else ""
    yield f"{found.store}: {counted(len(found.versions), 'version')}{gone}"
