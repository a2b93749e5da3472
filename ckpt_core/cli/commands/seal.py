"""`ckpt seal`: write digests beside a checkpoint that others wrote.

Damage shows from now on.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ckpt_core.cli.app import VerbCommand, examples
from ckpt_core.cli.options.refs import are_several, refs_argument, storage_option
from ckpt_core.cli.output.answer import Answer, Block, Table
from ckpt_core.cli.session import Session, common_options
from ckpt_core.cli.text import counted, human_bytes, shown_place

if TYPE_CHECKING:
    from ckpt_core.verbs.seal import Sealing


@click.command("seal", cls=VerbCommand, epilog=examples("ckpt seal out/model.pth", "ckpt seal 'out/*.pth' --sha256"))
@refs_argument(required=True)
@storage_option
@click.option("--sha256", is_flag=True, help="Also write the sums that sha256sum -c checks.")
@click.option("--force", is_flag=True, help="Replace a seal that is there.")
@common_options
@click.pass_obj
def command(session: Session, refs: tuple[str, ...], sha256: bool, force: bool) -> Answer:
    """Write digests beside each checkpoint; none of its files is touched."""

    def sealed(ref: str) -> Answer:
        return _sealed(session, ref, sha256, force)

    if not are_several(refs):
        return sealed(refs[0])
    from ckpt_core.cli.output.several import answer_each

    return answer_each(session, refs, sealed, titled=False)


def _sealed(session: Session, ref: str, sha256: bool, force: bool) -> Answer:
    from ckpt_core.verbs.seal import seal

    with session.progress() as progress:
        done = seal(ref, sha256=sha256, force=force, progress=progress)
    return Answer(lambda: _result(done), lambda: _page(done), lambda: [shown_place(ref)])


def _result(done: "Sealing") -> dict[str, Any]:
    return {
        "location": done.location,
        "files": dict(done.files),
        "fingerprints": dict(done.components),
        "sha256_sums": done.sums,
    }


def _page(done: "Sealing") -> Iterator[Block]:
    rows = [(shown_place(path), human_bytes(size)) for path, size in done.files.items()]
    yield Table(("file", "size"), rows, frozenset({"size"}))
    sums = f", sha256 sums in {shown_place(done.sums)}" if done.sums else ""
    yield f"{done.location}: sealed, {counted(len(done.files), 'file')}{sums}"
