"""The settings of one run, and the options that set them."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ckpt_core.schema.access import Progress
    from ckpt_core.storage.ranks.ranks import Ranks

_Command = TypeVar("_Command", bound=Callable[..., Any])


class Session:
    """The settings and the state of one run.

    What is known of it tells where it failed.

    Attributes:
        json: One JSON object on stdout instead of text.
        quiet: Only the result.
        verbose: Log the steps to stderr.
        debug: Show tracebacks.
        verb: The command; None until it is known.
        ref: What it was asked about, without secrets; a list for a command that takes two.
        options: Options of formats, as typed.
        accepts_damage: Whether the command was told to go on with damage.
        speaks: Whether to print anything: of several ranks one does.
    """

    def __init__(self, *, json: bool = False) -> None:
        self.json = json
        self.quiet = False
        self.verbose = False
        self.debug = False
        self.verb: str | None = None
        self.ref: str | list[str] | None = None
        self.options: dict[str, str] = {}
        self.accepts_damage = False
        self.speaks = True
        self._ranks: Ranks | None = None

    @contextmanager
    def ranks(self) -> "Iterator[Ranks]":
        """Join the processes that torchrun has started.

        Nothing is imported for that where there is one process alone.
        """
        from ckpt_core.storage.ranks.torchrun import torchrun_ranks

        with torchrun_ranks() as ranks:
            self._ranks, self.speaks = ranks, ranks.leads
            yield ranks

    def part(self) -> bool:
        """End together with the other ranks.

        False where rank 0 has not said by now what there is to say.
        """
        return self._ranks is None or self._ranks.part()

    def progress(self) -> "AbstractContextManager[Progress | None]":
        """Show a bar on stderr for long work.

        There is none where nobody would look at it.
        """
        if self.json or self.quiet or not self.speaks or not sys.stderr.isatty():
            from contextlib import nullcontext

            return nullcontext()
        from ckpt_core.cli.progress_bar import Bar

        return Bar(sys.stderr, self.verb or "")


def early_session(args: Sequence[str]) -> Session:
    """Return the session as the bare words tell it.

    Nothing is parsed yet, so that a wrong command line fails as was asked.
    """
    words = args[: args.index("--")] if "--" in args else args
    session = Session(json="--json" in words)
    session.quiet = "-q" in words or "--quiet" in words
    session.debug = "--debug" in words
    session.accepts_damage = "--accept-damage" in words
    return session


def common_options(function: _Command) -> _Command:
    """Declare the options that every command has.

    They may stand before the command too.
    """
    for option in reversed(_common_options()):
        function = option(function)
    return function


def _common_options() -> list[Callable[[_Command], _Command]]:
    return [
        _switch("--json", help="Print one JSON object, on failure too."),
        _switch("-q", "--quiet", help="Print only the result."),
        _switch("-v", "--verbose", help="Log each step to stderr."),
        _switch("--debug", help="Show the traceback of an error."),
    ]


def _switch(*names: str, help: str) -> Callable[[_Command], _Command]:
    return click.option(*names, is_flag=True, expose_value=False, callback=_note, help=help)


def _note(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    session = context.find_object(Session)
    if not value or session is None or parameter.name is None:
        return
    setattr(session, parameter.name, True)
    if parameter.name == "verbose":
        _log_to_stderr()


def _log_to_stderr() -> None:
    import logging

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="ckpt: %(message)s")
