"""The entry point of `ckpt`: runs one command, prints its answer, and ends with the exit code that is promised.

Results go to stdout, everything else to stderr. Exit codes: 0 fine; 1 a difference, or a warning where asked to fail on
them; 70 a bug; 130 interrupted; the others are those of the errors, see ckpt_core/errors.py.
"""

import os
import sys
from collections.abc import Callable, Sequence
from typing import cast

import click

from ckpt_core.cli.output.answer import Answer
from ckpt_core.cli.output.emit import emit
from ckpt_core.cli.output.failures import (
    BUDGET,
    Failure,
    complain,
    failure_of,
    show_traceback,
    tell,
    tell_plugin_failures,
)
from ckpt_core.cli.session import Session, early_session

_NOBODY_READS = 141
"""What a shell reports of a program whose reader went away."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; `argv` is without the program's name, None for that of this process."""
    args = list(sys.argv[1:] if argv is None else argv)
    session = early_session(args)
    _accept_any_text()
    answer: Answer | None = None
    error: BaseException | None = None
    code = 0
    try:
        answer = _run(args, session)
        error = answer.error if answer is not None else None
    except click.exceptions.Exit as done:
        code = done.exit_code
    except BrokenPipeError:  # of a help text: answers are printed later
        return _leave(_NOBODY_READS)
    except (Exception, KeyboardInterrupt) as raised:
        error = raised
    return _end(session, answer, error, code)


def _run(args: list[str], session: Session) -> Answer | None:
    from ckpt_core.cli.app import group

    if "_CKPT_COMPLETE" in os.environ:
        group.main(args, prog_name="ckpt", complete_var="_CKPT_COMPLETE", obj=session)
    with group.make_context("ckpt", args, obj=session) as context:
        return cast("Answer | None", group.invoke(context))


def _end(session: Session, answer: Answer | None, error: BaseException | None, code: int) -> int:
    failure = None if error is None else failure_of(error, session)
    if failure is not None:
        code = failure.exit_code
    elif answer is not None:
        code = answer.final_code
    if not session.speaks:
        # Rank 0 says it; where that one is gone or stuck, somebody must.
        if not session.part() and failure is not None:
            complain(failure)
        return code
    code = _guarded_output(session, answer, failure, code)
    if error is not None and session.debug:
        show_traceback(error)
    if failure is not None and not session.json:
        complain(failure)
    tell_plugin_failures()
    session.part()
    return code


def _guarded_output(session: Session, answer: Answer | None, failure: Failure | None, code: int) -> int:
    """Print, and say with what code to end: a reader that went away changes no verdict, a full disk does."""
    try:
        if answer is not None or failure is not None:
            emit(session, answer, failure)
        sys.stdout.flush()
    except BrokenPipeError:
        return _leave(code)
    except KeyboardInterrupt:
        tell("error: interrupted")
        return _leave(130)
    except OSError as error:
        tell(f"error: the output could not be written ({(error.strerror or '').lower()})")
        return _leave(BUDGET)
    except Exception as error:  # of a form that was being made
        return _end(session, None, error, code)
    return code


def _leave(code: int) -> int:
    # Python flushes stdout once more at exit and would complain then.
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    return code


def _accept_any_text() -> None:
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Callable[..., None] | None = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
