"""`ckpt bisect`: find the first version for which a command fails."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ckpt_core.cli.app import VerbCommand, examples
from ckpt_core.cli.options.refs import storage_option
from ckpt_core.cli.output.answer import Answer, Block, Table
from ckpt_core.cli.session import Session, common_options
from ckpt_core.cli.text import counted, shown_place

if TYPE_CHECKING:
    from ckpt_core.verbs.versions.bisect import Bisection

_EXAMPLES = examples(
    "ckpt bisect versions -- python eval.py {}",
    "ckpt bisect versions --good v3 -- ./check {}",
)


@click.command("bisect", cls=VerbCommand, epilog=_EXAMPLES, context_settings={"ignore_unknown_options": False})
@click.argument("store", metavar="STORE")
@click.argument("cmd", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD...")
@click.option("--good", metavar="VERSION", help="One for which it succeeds; the oldest, which is tried, by default.")
@click.option("--bad", metavar="VERSION", help="One for which it fails; the newest, which is tried, by default.")
@storage_option
@common_options
@click.pass_obj
def command(session: Session, /, store: str, cmd: tuple[str, ...], good: str | None, bad: str | None) -> Answer:
    """Find the first version of STORE for which CMD fails.

    {} in CMD is the ref of the version, as is BISECT_REF in its environment. As for git bisect run: 0 is good, 1 to
    127 bad, 125 cannot be told, anything else ends the search.
    """
    from ckpt_core.verbs.versions.bisect import bisect

    session.ref = shown_place(store)
    found = bisect(store, list(cmd), good=good, bad=bad)
    return Answer(lambda: _result(found), lambda: _page(found), lambda: list(found.first_bad))


def _result(found: "Bisection") -> dict[str, Any]:
    return {
        "store": found.store,
        "first_bad": list(found.first_bad),
        "last_good": found.last_good,
        "tried": dict(found.tried),
    }


def _page(found: "Bisection") -> Iterator[Block]:
    yield Table(("version", "verdict"), list(found.tried.items()))
    runs = counted(len(found.tried), "run")
    if len(found.first_bad) == 1:
        yield f"{found.store}@{found.first_bad[0]}: the first bad version, after {found.last_good}, in {runs}"
    else:
        names = ", ".join(found.first_bad)
        yield f"{found.store}: the first bad version after {found.last_good} is one of {names}: CMD could not tell"
