"""The entry point of `ckpt`.

It runs one command, prints its answer, and ends with the exit code that is promised.

Results go to stdout, everything else to stderr. Exit codes: 0 fine; 1 a difference, or a warning where asked to fail on
them; 70 a bug; 130 interrupted; the others are those of the errors, see ckpt_core/errors.py.
"""

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import click

from ckpt_core.cli.output.answer import Answer
from ckpt_core.cli.output.emit import emit
from ckpt_core.cli.output.terminal import tell
from ckpt_core.cli.session import Session, early_session

if TYPE_CHECKING:
    from ckpt_core.cli.output.failures import Failure

_NOBODY_READS = 141
"""What a shell reports of a program whose reader went away."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    `argv` is without the program's name, None for that of this process.
    """
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
    if error is not None:
        return _fail(session, answer, error)
    code = code if answer is None else answer.final_code
    if session.speaks:
        code = _guarded_output(session, answer, None, code)
        _warn_of_plugins()
    session.part()
    return code


def _fail(session: Session, answer: Answer | None, error: BaseException) -> int:
    from ckpt_core.cli.output.failures import complain, failure_of, show_traceback

    failure = failure_of(error, session)
    if not session.speaks:
        # Rank 0 says it; where that one is gone or stuck, somebody must.
        if not session.part():
            complain(failure)
        return failure.exit_code
    code = _guarded_output(session, answer, failure, failure.exit_code)
    if session.debug:
        show_traceback(error)
    if not session.json:
        complain(failure)
    _warn_of_plugins()
    session.part()
    return code


def _warn_of_plugins() -> None:
    """Warn of plugins that crashed and lost their answers.

    Where no plugin was asked, none is loaded for it.
    """
    loaded = sys.modules.get("ckpt_core.manager.plugin_manager")
    if loaded is None or not loaded.get_plugin_manager.cache_info().currsize:
        return
    failures = loaded.get_plugin_manager().failures
    if not failures.plugins():
        return
    from ckpt_core.schema.text import printable

    for plugin in failures.plugins():
        for line in failures.of(plugin):
            tell(f"warning: plugin {printable(plugin)}: {printable(line, 500)}; its answer is missing")


def _guarded_output(session: Session, answer: Answer | None, failure: "Failure | None", code: int) -> int:
    """Print, and return the code to end with.

    A reader that went away changes no verdict, a full disk does.
    """
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
        from ckpt_core.cli.output.failures import BUDGET

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
