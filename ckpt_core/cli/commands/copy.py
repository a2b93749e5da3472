"""`ckpt copy`: move a checkpoint's files to another place, checked.

The copy is named whole or not at all.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ckpt_core.cli.app import VerbCommand, examples
from ckpt_core.cli.options.refs import place_options, ref_argument
from ckpt_core.cli.options.transfer import destination_options, selection_options
from ckpt_core.cli.output.answer import Answer, Block, Table
from ckpt_core.cli.session import Session, common_options
from ckpt_core.cli.text import counted, human_bytes, shown_place

if TYPE_CHECKING:
    from ckpt_core.verbs.moving.copy import CopyReport

_MOST_SHOWN = 8

_EXAMPLES = examples(
    "ckpt copy out s3://bucket/out",
    "ckpt copy s3://bucket/run#step-400 step-400",
    "ckpt copy step-400 model --component model",
    "ckpt copy out new --exclude '*.pt' --dry-run",
)


@click.command("copy", cls=VerbCommand, epilog=_EXAMPLES)
@ref_argument("source", required=True)
@ref_argument("destination", required=True)
@selection_options(
    component="Copy only the files of this, and those that its layout is opened by; may be repeated.",
    include="Copy only files, or folders, that match; may be repeated.",
    exclude="Leave out files, or folders, that match; repeatable.",
)
@destination_options(whole="copy", shown="moved, with how many requests")
@place_options
@common_options
@click.pass_obj
def command(session: Session, /, source: str, destination: str, **how: Any) -> Answer:
    """Copy the files of SOURCE to DESTINATION, byte for byte.

    They are compared with their seal and checksums as they move. Stopped, it goes on where it was when it is run again.
    """
    from ckpt_core.verbs.moving.copy import copy

    with session.progress() as progress:
        done = copy(source, destination, **how, progress=progress)
    return Answer(lambda: _result(done), lambda: _page(done), lambda: [done.destination])


def _result(done: "CopyReport") -> dict[str, Any]:
    result: dict[str, Any] = {
        "source": done.source,
        "destination": done.destination,
        "format": done.format,
        "dry_run": done.dry_run,
        "files": dict(done.files),
        "bytes": done.nbytes,
        "left_out": dict(done.left_out),
        "requests": dict(done.requests),
        "memory": done.memory,
        "note": done.note,
    }
    if not done.dry_run:
        result["already_done"] = done.already_done
        parts = {"moved": done.moved, "kept": done.kept, "shared": done.shared, "cached": done.cached}
        result |= {"parts": parts, "seal": done.seal, "source_checked": done.checked, "published": done.published}
    return result


def _page(done: "CopyReport") -> Iterator[Block]:
    rows = [(shown_place(path), human_bytes(size)) for path, size in done.files.items()]
    yield Table(("file", "size"), rows, frozenset({"size"}))
    shown = list(done.left_out.items())
    yield from (f"left out: {shown_place(path)} ({why})" for path, why in shown[:_MOST_SHOWN])
    if len(shown) > _MOST_SHOWN:
        yield f"and {len(shown) - _MOST_SHOWN} more; --json names them"
    if done.note:
        yield shown_place(done.note)
    amount = f"{counted(len(done.files), 'file')}, {human_bytes(done.nbytes)}"
    if done.dry_run:
        yield f"would copy {amount}{_requests(done)}, in {human_bytes(done.memory)} of memory; nothing was written"
        return
    if done.already_done:
        yield f"{done.destination}: already there, {amount}: every byte is as its seal says"
        return
    yield f"source checked by {done.checked}"
    if done.kept:
        yield f"went on from an earlier run: {counted(done.kept, 'part')} of {done.moved + done.kept} were there"
    if done.shared:
        yield f"{counted(done.shared, 'part')} not moved: both places share the storage"
    if done.cached:
        yield f"{counted(done.cached, 'part')} not moved: a cache on this machine had them; they were proved anew"
    yield f"{done.destination}: {done.format}, {amount}; {_SEALED[done.seal]}"
    if done.published:
        yield shown_place(done.published)


_SEALED = {
    "kept": "its seal was copied",
    "new": "sealed by what was read: the source has no seal",
    "of the part": "sealed as what it is now, a part",
}


def _requests(done: "CopyReport") -> str:
    asked = [f"{count} of the {place}" for place, count in done.requests.items() if count]
    return f" with about {' and '.join(asked)} requests" if asked else ""
