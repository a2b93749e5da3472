"""`ckpt publish`: make a checkpoint the next version of a store."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ckpt_core.cli.app import OpeningCommand, examples
from ckpt_core.cli.options.refs import place_options, ref_argument
from ckpt_core.cli.output.answer import Answer, Block
from ckpt_core.cli.output.versions import as_result
from ckpt_core.cli.session import Session, common_options
from ckpt_core.cli.text import human_bytes, shown_place
from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    from ckpt_core.verbs.versions.publish import Published

_EXAMPLES = examples(
    "ckpt publish step-400 s3://bucket/versions",
    "ckpt publish out versions --alias best",
    "ckpt publish out versions --tag final",
)


@click.command("publish", cls=OpeningCommand, epilog=_EXAMPLES)
@ref_argument("ref", required=True)
@click.argument("store", metavar="STORE")
@click.option("--alias", multiple=True, metavar="NAME", help="Let this name stand for the version; may be repeated.")
@click.option("--tag", "tags", multiple=True, metavar="WORD", help="Keep this word with it; may be repeated.")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME=VALUE",
    help="Keep this value with it, in place of what the checkpoint records; may be repeated.",
)
@place_options
@common_options
@click.pass_obj
def command(
    session: Session,
    /,
    ref: str,
    store: str,
    alias: tuple[str, ...],
    tags: tuple[str, ...],
    metrics: tuple[str, ...],
    hints: dict[str, str],
    format: str | None,
) -> Answer:
    """Publish the checkpoint REF as the next version of STORE.

    Its files are kept whole; tensors that the store has of any version are not stored again. STORE@v3, STORE@latest and
    STORE@NAME are refs like any other.
    """
    from ckpt_core.verbs.versions.publish import publish

    values = dict(map(_metric, metrics)) if metrics else None
    how: dict[str, Any] = {"alias": alias, "tags": tags, "metrics": values, "hints": hints, "format": format}
    with session.progress() as progress:
        done = publish(ref, store, **how, options=session.options, progress=progress)
    return Answer(lambda: _result(done), lambda: _page(done), lambda: [shown_place(done.ref)])


def _metric(text: str) -> tuple[str, float]:
    from ckpt_core.errors import UsageError

    name, mark, value = text.partition("=")
    try:
        if not mark or not name:
            raise ValueError
        return name, float(value)
    except ValueError:
        raise UsageError(f"--metric {text}: NAME=NUMBER is needed, such as val_loss=1.83") from None


def _result(done: "Published") -> dict[str, Any]:
    told = {"ref": done.ref, "already_there": done.already_there, "not_kept": list(done.not_kept)}
    return told | as_result(done.version, list(done.aliases))


def _page(done: "Published") -> Iterator[Block]:
    version = done.version
    if done.already_there:
        yield f"{shown_place(done.ref)}: the newest version has this content; no other was made"
    else:
        step = "" if version.step is None else f", step {version.step}"
        yield (
            f"{shown_place(done.ref)}: {version.format}{step}, {human_bytes(version.size)}; "
            f"{human_bytes(version.new)} of it new"
        )
    if done.not_kept:
        named = ", ".join(printable(one, 80) for one in done.not_kept)
        yield f"not kept, since a version does not change: {named}; {version.name} has what it was published with"
    for name in done.aliases:
        yield f"{name} stands for {version.name}"
