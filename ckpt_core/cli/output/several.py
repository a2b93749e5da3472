"""Asks one question about several refs.

Each has its own answer or failure, and together they have one exit code.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from ckpt_core.cli.options.globs import expanded
from ckpt_core.cli.output.answer import Answer, Block, Table, first_code
from ckpt_core.cli.output.failures import Failure, complain, failure_of, show_traceback
from ckpt_core.cli.text import shown_place

if TYPE_CHECKING:
    from ckpt_core.cli.session import Session

_Found = TypeVar("_Found")


class Asked(NamedTuple, Generic[_Found]):
    """A ref, and what was found there or why nothing was."""

    ref: str
    found: _Found | None
    failure: Failure | None


def ask_each(session: "Session", refs: Sequence[str], ask: Callable[[str], _Found]) -> Iterator[Asked[_Found]]:
    """Yield the answer or failure of each ref.

    A failure is of its ref alone; an interrupt ends the asking, and is the last.
    """
    for ref in expanded(refs):
        session.ref = shown_place(ref)
        try:
            yield Asked(ref, ask(ref), None)
        except (Exception, KeyboardInterrupt) as error:
            if session.debug:
                show_traceback(error)
            yield Asked(ref, None, failure_of(error, session))
            if isinstance(error, KeyboardInterrupt):
                return


def answer_each(session: "Session", refs: Sequence[str], ask: Callable[[str], Answer], *, titled: bool) -> Answer:
    """Return one answer to a question about several refs.

    Their pages stand below each other; `--json` is an array.

    Args:
        session: How it is printed: no other form is made.
        refs: As typed, with globs.
        ask: Answers about one.
        titled: Whether `--quiet` prints each ref above what is left of its page.
    """
    done = list(ask_each(session, refs, lambda ref: _made(session, ask(ref))))
    codes = [one.failure.exit_code for one in done if one.failure] + [one.found.code for one in done if one.found]
    return Answer(
        result=list,
        page=lambda: _below_each_other(done, gap=True, titled=False),
        brief=lambda: _below_each_other(done, gap=False, titled=titled),
        exit_code=first_code(codes),
        each=lambda: [envelope_of(session, one, one.found.envelope if one.found else None) for one in done],
    )


def envelope_of(session: "Session", asked: Asked[Any], made: Any) -> Any:
    """Return the JSON object about one ref of several.

    It is the one that was made, or that of its failure.
    """
    from ckpt_core.cli.output.json_envelope import contents

    if asked.failure is None:
        return made
    session.ref = shown_place(asked.ref)
    return contents(session, None, asked.failure)


class _Made(NamedTuple):
    """An answer in the form that is printed.

    It is without the checkpoint that it was made of.
    """

    code: int
    blocks: Sequence[Block]
    envelope: Any


def _made(session: "Session", answer: Answer) -> _Made:
    from ckpt_core.cli.output.json_envelope import contents

    if session.json:
        return _Made(answer.final_code, (), contents(session, answer, None))
    blocks = [_whole(block) for block in (answer.brief() if session.quiet else answer.page())]
    return _Made(answer.final_code, blocks, None)


def _whole(block: Block) -> Block:
    return block._replace(rows=[list(row) for row in block.rows]) if isinstance(block, Table) else block


def _below_each_other(done: Sequence[Asked[_Made]], *, gap: bool, titled: bool) -> Iterator[Block]:
    for number, one in enumerate(done):
        if one.failure is not None:
            sys.stdout.flush()
            complain(one.failure)
        elif one.found is not None:
            if gap and number:
                yield ""
            if titled:
                yield f"{shown_place(one.ref)}:"
            yield from one.found.blocks
