"""`ckpt plan-resume`: show what a run would go on from.

It tells how that fits what the next run is called with.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ckpt_core.cli.app import VerbCommand, examples
from ckpt_core.cli.options.refs import ref_argument, storage_option
from ckpt_core.cli.output.answer import Answer, Block, Table
from ckpt_core.cli.session import Session, common_options

if TYPE_CHECKING:
    from ckpt_core.training.planning.plan import ResumePlan

_DIFFERS, _REFUSED = 1, 4

_EXAMPLES = examples(
    "ckpt plan-resume runs/a",
    "ckpt plan-resume runs/a --set max_steps=2000",
    "ckpt plan-resume out --arguments next.json",
)


@click.command("plan-resume", cls=VerbCommand, epilog=_EXAMPLES)
@ref_argument("run", required=True)
@click.option("--arguments", metavar="JSON", help="What the next run is called with: a JSON object, or a file of one.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="One argument of it; may be repeated.")
@click.option("--lr", metavar="WHICH", help="Which learning rate counts where they differ: checkpoint or argument.")
@storage_option
@common_options
@click.pass_obj
def command(session: Session, /, run: str, arguments: str | None, settings: tuple[str, ...], lr: str | None) -> Answer:
    """Show, before it starts, what a training RUN goes on from.

    Names are those of the next run's arguments, such as max_steps, lr, batch_size, world_size, num_workers and seed, or
    of fields of the model's config. Exit code 0: it goes on as it was; 1: something is otherwise, and it goes on; 4:
    something is refused.
    """
    from ckpt_core.training.planning.settings import arguments_of
    from ckpt_core.training.planning.stored import plan_resume

    given = {**(arguments_of(arguments) if arguments is not None else {}), **dict(map(_setting, settings))}
    plan = plan_resume(run, given, lr=lr)
    code = _REFUSED if plan.refused else _DIFFERS if plan.changed else 0
    return Answer(plan.as_dict, lambda: _page(plan), lambda: _refusals(plan), (), code)


def _refusals(plan: "ResumePlan") -> list[str]:
    from ckpt_core.arguments import in_shell

    return [in_shell(row.note) for row in plan.refused]


def _setting(text: str) -> tuple[str, Any]:
    from ckpt_core.arguments import argument
    from ckpt_core.errors import UsageError
    from ckpt_core.training.planning.settings import parsed

    name, found, value = text.partition("=")
    if not name or not found:
        raise UsageError(f"{argument('set', text)}: NAME=VALUE is needed")
    return name, parsed(value)


def _page(plan: "ResumePlan") -> Iterator[Block]:
    from ckpt_core.arguments import in_shell
    from ckpt_core.training.planning.plan import cells

    epoch = "" if plan.epoch is None else f", epoch {plan.epoch:g}"
    yield f"{plan.location}: step {plan.step}{epoch}"
    rows = [(*cells(row)[:-1], in_shell(row.note)) for row in plan.rows]
    yield Table(("what", "saved", "given", "happens", ""), rows)
    for name, reason in plan.rejected.items():
        yield f"passed over {name}: {reason}"
    refused, changed = len(plan.refused), len(plan.changed)
    if refused:
        yield f"it would not go on: {refused} refused"
    else:
        yield f"it would go on from step {plan.step}" + (f"; {changed} otherwise than it was" if changed else "")
