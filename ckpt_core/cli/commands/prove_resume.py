"""`ckpt prove-resume`: compare a training run whole and killed, to the bit.

It is a person's own training.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ckpt_core.cli.app import VerbCommand, examples
from ckpt_core.cli.output.answer import Answer, Block
from ckpt_core.cli.session import Session, common_options

if TYPE_CHECKING:
    from ckpt_core.training.proving.proof import ResumeProof

_DIFFERS = 1

_EXAMPLES = examples(
    "ckpt prove-resume -- python train.py",
    "ckpt prove-resume --kills 8 -- python train.py",
)


@click.command("prove-resume", cls=VerbCommand, epilog=_EXAMPLES)
@click.argument("command_line", metavar="-- COMMAND...", nargs=-1, type=click.UNPROCESSED, required=True)
@click.option("--kills", type=int, default=3, show_default=True, help="Kill it so often, at random steps.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides at which steps.")
@common_options
@click.pass_obj
def command(session: Session, /, command_line: tuple[str, ...], kills: int, seed: int) -> Answer:
    """Run a training whole and killed, and compare both.

    COMMAND trains with a Checkpointer, which writes to temporary folders meanwhile, and not to its own. Losses,
    weights, states, data and steps are compared to the bit. Exit code 0: they are equal; 1: they are not; 2: it cannot
    be proved.
    """
    from ckpt_core.training.proving.proof import prove_resume

    def told(text: str) -> None:
        if not session.quiet:
            click.echo(text, err=True)

    proof = prove_resume(command_line, kills=kills, seed=seed, told=told)
    return Answer(lambda: _result(proof), lambda: _page(proof), list, (), 0 if proof.exact else _DIFFERS)


def _result(proof: "ResumeProof") -> dict[str, Any]:
    return {**asdict(proof), "exact": proof.exact}


def _page(proof: "ResumeProof") -> Iterator[Block]:
    kills, resumed = ", ".join(map(str, proof.kills)), ", ".join(map(str, proof.resumed))
    yield f"{proof.steps} steps; killed at {kills}; went on from {resumed}"
    first = proof.difference
    if first is None:
        yield "exact: losses, weights, states, data and steps are equal to the bit"
        return
    yield f"not exact: {first.component} differs first, at step {first.step}, in process {first.process}"
    yield f"  {first.detail}" + (f": {first.sample}" if first.sample else "")
