"""Describes a failure: a line, data for `--json`, an exit code."""

import sys
from typing import Any, NamedTuple

import click

from ckpt_core.arguments import in_shell
from ckpt_core.cli.output.terminal import tell
from ckpt_core.cli.session import Session
from ckpt_core.errors import CkptError, CorruptError, PluginError
from ckpt_core.schema.text import printable

USAGE = 2
BUDGET = 8
INTERNAL = 70
INTERRUPTED = 130
_LONG = 4000


class Failure(NamedTuple):
    """Why there is no answer, or not all of it.

    Attributes:
        kind: The class of the error.
        finding: The same as a report says it; None for what has no code.
    """

    kind: str
    message: str
    hint: str | None
    exit_code: int
    finding: dict[str, Any] | None = None


def failure_of(error: BaseException, session: Session) -> Failure:
    """Return an error as the failure that a person reads."""
    match error:
        case CkptError():
            from ckpt_core.schema.findings import Finding

            step = printable(in_shell(error.hint), _LONG) if error.hint else _next_step(error, session)
            hint = "; ".join(filter(None, (step, _about_accepting(error, session)))) or None
            finding = Finding.saying(error).as_dict() if error.code else None
            return Failure(
                type(error).__name__, printable(in_shell(error.message), _LONG), hint, error.exit_code, finding
            )
        case click.ClickException():
            command = f"ckpt {session.verb}" if session.verb else "ckpt"
            return Failure("UsageError", printable(error.format_message(), _LONG), f"run {command} --help", USAGE)
        case KeyboardInterrupt() | click.Abort():
            return Failure("KeyboardInterrupt", "interrupted", _KEPT.get(session.verb or ""), INTERRUPTED)
        case MemoryError():
            return Failure("MemoryError", "out of memory", "set CKPT_WORKERS=1, or use a larger machine", BUDGET)
    kind = type(error).__name__
    message = f"this is a bug in ckpt: {kind}: {printable(str(error), 500)}"
    return Failure(kind, message, "run it again with --debug to see the traceback, and report it", INTERNAL)


_UNTOUCHED = "nothing was written; the same command begins anew"
_KEPT = {
    "convert": "what was finished is kept beside the destination; the same command goes on from it",
    "copy": "what was moved is kept at the destination; the same command goes on from it",
    "repair": "a copy begins anew; in place, the same command first takes back what was begun, as --undo does",
    **dict.fromkeys(("inspect", "verify", "diff"), _UNTOUCHED),
    "clean": "what was not removed yet is there still; the same command goes on",
    "seal": "no file of the checkpoint was touched; the same command begins anew",
}
"""What an interrupt leaves, by command."""


def _next_step(error: CkptError, session: Session) -> str | None:
    """Return the next step from damage that does not say one.

    Other verbs stop at the first fault, verify does not.
    """
    if isinstance(error, PluginError):
        return "run it again with --debug to see the traceback"
    if not isinstance(error, CorruptError) or ";" in error.message or session.verb == "verify":
        return None
    return "run ckpt verify on it to see all that is wrong"


ACCEPTING = {
    "convert": "--accept-damage goes on, and marks what comes of it as tainted",
    "diff": "--accept-damage compares what is there",
    "repair": "--accept-damage goes on, and marks the copy as tainted",
}
"""What it does, by the commands that have it."""


def _about_accepting(error: CkptError, session: Session) -> str | None:
    """Return how `--accept-damage` helps with an error.

    Nobody is told to try what cannot help.
    """
    if not isinstance(error, CorruptError):
        return None
    if session.accepts_damage:
        return "--accept-damage cannot go on from this: it is for tensors whose bytes do not match a checksum"
    return ACCEPTING.get(session.verb or "") if error.acceptable else None


def complain(failure: Failure) -> None:
    """Print a failure on stderr, with the next step.

    One line each.
    """
    code = f" {failure.finding['code']}" if failure.finding else ""
    tell(f"error{code}: {failure.message}")
    if failure.hint:
        tell(f"hint: {failure.hint}")


def show_traceback(error: BaseException) -> None:
    import traceback

    try:
        traceback.print_exception(error, file=sys.stderr)
    except OSError:
        pass  # as in tell
