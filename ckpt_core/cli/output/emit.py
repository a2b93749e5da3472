"""Prints a command's answer in the form that was asked for."""

from typing import TYPE_CHECKING

from ckpt_core.cli.output.answer import Answer
from ckpt_core.cli.session import Session

if TYPE_CHECKING:
    from ckpt_core.cli.output.failures import Failure


def emit(session: Session, answer: Answer | None, failure: "Failure | None" = None) -> None:
    """Print an answer, or what there is of it, on stdout."""
    if session.json:
        from ckpt_core.cli.output.json_envelope import envelope

        print(envelope(session, answer, failure))
    elif answer is not None:
        from ckpt_core.cli.output.tables import print_blocks

        print_blocks(answer.brief() if session.quiet else answer.page())
