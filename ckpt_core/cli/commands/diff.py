"""`ckpt diff`: tell whether two checkpoints are equal, and where not."""

from os.path import isdir
from typing import Any

import click

from ckpt_core.cli.app import OpeningCommand, examples
from ckpt_core.cli.options import completions
from ckpt_core.cli.options.refs import place_options, ref_argument
from ckpt_core.cli.output.answer import Answer
from ckpt_core.cli.session import Session, common_options

_DIFFERENT = 1
_EXAMPLES = examples(
    "ckpt diff step_100.pt step_200.pt",
    "ckpt diff model.pth model.safetensors -q",
    "ckpt diff a.pt b.pt --component optimizer",
)


@click.command("diff", cls=OpeningCommand, epilog=_EXAMPLES)
@ref_argument("a", required=True)
@ref_argument("b", required=True)
@place_options
@click.option(
    "--component",
    metavar="LABEL",
    shell_complete=completions.components,
    help="Compare this component only, for instance model or optimizer.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=50,
    show_default=True,
    metavar="NUMBER",
    help="Show at most so many differences of each kind; 0 for all. --json has all of them.",
)
@click.option("--accept-damage", is_flag=True, help="Compare what is there, whether or not it matches its checksums.")
@common_options
@click.pass_obj
def command(
    session: Session,
    a: str,
    b: str,
    hints: dict[str, str],
    format: str | None,
    component: str | None,
    limit: int,
    accept_damage: bool,
) -> Answer:
    """Compare two checkpoints: names, shapes, types, values and plain state.

    Of two folders, each checkpoint is compared with its namesake.

    Ends with 0 where they are the same, with 1 where they differ, with 4 where one of them is damaged.
    """
    how: dict[str, Any] = {"hints": hints, "format": format, "accept_damage": accept_damage, "component": component}
    if isdir(a) and isdir(b):
        from ckpt_core.cli.output.folder_diff import of_folders

        answer = of_folders(session, (a, b), how)
        if answer is not None:
            return answer
    from ckpt_core.cli.output.diff_page import page, result, verdict
    from ckpt_core.verbs.diff import diff

    with session.progress() as progress:
        report = diff(a, b, **how, options=session.options, progress=progress)
    return Answer(
        result=lambda: result(report),
        page=lambda: page(report, limit),
        brief=lambda: [verdict(report)],
        exit_code=0 if report.identical else _DIFFERENT,
    )
