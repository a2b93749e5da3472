"""`ckpt clean`: list what stopped writers left, and remove it.

Each comes with its age and bytes. Nothing is removed before it is asked for.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ckpt_core.cli.app import VerbCommand, examples
from ckpt_core.cli.options.refs import ref_argument, storage_option
from ckpt_core.cli.output.answer import Answer, Block, Table
from ckpt_core.cli.session import Session, common_options
from ckpt_core.cli.text import counted, human_bytes

if TYPE_CHECKING:
    from ckpt_core.verbs.moving.clean import CleanReport, LeftBehind

_TO_DO = 1

_EXAMPLES = examples("ckpt clean runs", "ckpt clean s3://bucket/runs", "ckpt clean s3://bucket/runs --apply")


@click.command("clean", cls=VerbCommand, epilog=_EXAMPLES)
@ref_argument("place", required=True)
@click.option("--apply", is_flag=True, help="Remove what is listed and nobody is at work on.")
@storage_option
@common_options
@click.pass_obj
def command(session: Session, /, place: str, apply: bool) -> Answer:
    """List the leftovers of gone writers at PLACE and below it.

    They are stages, locks, journals and unfinished uploads.

    Without --apply nothing is removed. Exit code 0: nothing is left, or it was removed; 1: something can be removed.
    What a writer is at work on stays, and so does everything that ckpt has not written.
    """
    from ckpt_core.verbs.moving.clean import clean

    done = clean(place, apply=apply)
    code = _TO_DO if done.pending else 0
    return Answer(lambda: _result(done, apply), lambda: _page(done, apply), lambda: _brief(done), (), code, done.error)


def _result(done: "CleanReport", apply: bool) -> dict[str, Any]:
    return {
        "place": done.place,
        "applied": apply,
        "found": [asdict(one) for one in done.found],
        "bytes": sum(one.nbytes for one in done.found if not one.held),
    }


def _page(done: "CleanReport", apply: bool) -> Iterator[Block]:
    if not done.found:
        yield f"{done.place}: nothing is left by writers that are gone"
        return
    headers = ("place", "what is left", "age", "size", "files", "uploads", "")
    yield Table(headers, list(map(_row, done.found)), frozenset({"age", "size", "files", "uploads"}))
    removed, pending = [one for one in done.found if one.removed], done.pending
    if apply:
        yield f"{done.place}: removed {_amount(removed)}"
    elif pending:
        yield f"{done.place}: would remove {_amount(pending)}; --apply does it"


def _row(one: "LeftBehind") -> tuple[str, ...]:
    state = f"held by {one.held}" if one.held else "removed" if one.removed else ""
    return one.place, one.kind, _age(one.age), human_bytes(one.nbytes), str(one.files), str(one.uploads), state


def _brief(done: "CleanReport") -> Iterator[Block]:
    yield from (one.place for one in done.found if one.removed or not one.held)


def _amount(left: "list[LeftBehind] | tuple[LeftBehind, ...]") -> str:
    uploads = sum(one.uploads for one in left)
    also = f" and {counted(uploads, 'upload')}" if uploads else ""
    return f"{human_bytes(sum(one.nbytes for one in left))} in {counted(sum(one.files for one in left), 'file')}{also}"


def _age(seconds: float) -> str:
    """`12 s`, `5 min`, `3 h`, `9 days`."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
