"""`ckpt inspect`: show what a checkpoint holds, from its headers.

Statistics and digests are read where they are asked for.
"""

from typing import TYPE_CHECKING

import click

from ckpt_core.cli.app import OpeningCommand, examples
from ckpt_core.cli.options import completions
from ckpt_core.cli.options.refs import are_several, place_options, refs_argument, require_ref
from ckpt_core.cli.output.answer import Answer
from ckpt_core.cli.session import Session, common_options

if TYPE_CHECKING:
    from ckpt_core.cli.output.inspection import Wanted

_FAILED = 4
_EXAMPLES = examples(
    "ckpt inspect out/model.pth",
    "ckpt inspect 'runs/*/last.ckpt'",
    "ckpt inspect model.pth --filter '*norm*'",
    "ckpt inspect hf://org/model --json",
)


@click.command("inspect", cls=OpeningCommand, epilog=_EXAMPLES)
@refs_argument()
@place_options
@click.option("--tensors", is_flag=True, help="List the tensors.")
@click.option(
    "--filter", "filters", multiple=True, metavar="GLOB", help="List the tensors of such names; may be repeated."
)
@click.option(
    "--component",
    metavar="LABEL",
    shell_complete=completions.components,
    help="Show this component only, for instance model or optimizer.",
)
@click.option(
    "--stats", is_flag=True, help="List the tensors with least, greatest and mean value, NaN, infinities, zeros."
)
@click.option(
    "--fingerprint",
    is_flag=True,
    help="Show a digest of each component, and of each listed tensor, equal in every format.",
)
@common_options
@click.pass_obj
def command(
    session: Session,
    refs: tuple[str, ...],
    hints: dict[str, str],
    format: str | None,
    tensors: bool,
    filters: tuple[str, ...],
    component: str | None,
    stats: bool,
    fingerprint: bool,
) -> Answer:
    """Show what each checkpoint holds.

    Of a directory of several, show which there are.
    """
    require_ref(refs, hints)
    from ckpt_core.cli.output.inspection import Wanted

    wanted = Wanted(component, filters, listed=tensors or stats or bool(filters), stats=stats, fingerprint=fingerprint)

    def shown(ref: str | None) -> Answer:
        return _shown(session, ref, hints, format, wanted)

    if not are_several(refs):
        return shown(refs[0] if refs else None)
    from ckpt_core.cli.output.several import answer_each

    return answer_each(session, refs, shown, titled=True)


def _shown(session: Session, ref: str | None, hints: dict[str, str], format: str | None, wanted: "Wanted") -> Answer:
    from ckpt_core.cli.output.inspection import gather
    from ckpt_core.cli.output.inspection_page import brief, page, result
    from ckpt_core.verbs.inspect import inspect

    inspection = inspect(ref, hints=hints, format=format, options=session.options)
    with session.progress() as progress:
        contents = gather(inspection, wanted, progress)
    return Answer(
        result=lambda: result(contents),
        page=lambda: page(contents, in_full=session.verbose),
        brief=lambda: brief(contents),
        findings=contents.findings,
        exit_code=_FAILED if any(finding.severity.name == "ERROR" for finding in contents.findings) else 0,
    )
