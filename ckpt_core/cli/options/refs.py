"""The argument and options of every command that asks about a checkpoint."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from ckpt_core.cli.options import completions
from ckpt_core.cli.session import Session
from ckpt_core.cli.text import shown_place

PROFILES = ("inference", "resume", "exact-resume")

_Command = TypeVar("_Command", bound=Callable[..., Any])


def ref_argument(name: str = "ref", *, required: bool = False) -> Callable[[_Command], _Command]:
    """A ref. Where it is not required, hints may stand for it."""
    shown = name.upper() if required else f"[{name.upper()}]"
    return click.argument(name, required=required, callback=_note_ref, metavar=shown, shell_complete=completions.refs)


def refs_argument(*, required: bool = False) -> Callable[[_Command], _Command]:
    """Declare an argument for any number of refs and globs.

    The command gets a tuple named `refs`. Where none is required, hints may stand for them.
    """
    shown = "REF..." if required else "[REF]..."
    return click.argument(
        "refs", nargs=-1, required=required, callback=_note_refs, metavar=shown, shell_complete=completions.refs
    )


def place_options(function: _Command) -> _Command:
    """`--hint`, `--format` and `--storage-option`."""
    return hint_option(format_option(storage_option(function)))


def storage_option(function: _Command) -> _Command:
    """Declare `--storage-option k=v`, as often as needed.

    It is given to the clients of stores, and not to the command.
    """
    return click.option(
        "--storage-option",
        multiple=True,
        metavar="NAME=VALUE",
        expose_value=False,
        callback=_note_storage,
        help="Give this to the client of s3://, gs:// or hf://, for instance endpoint_url=URL; may be repeated.",
    )(function)


def hint_option(function: _Command) -> _Command:
    """Declare `--hint k=v`, as often as needed.

    The command gets them as a dict named `hints`.
    """
    return click.option(
        "--hint",
        "hints",
        multiple=True,
        metavar="NAME=VALUE",
        callback=_parse_hints,
        help="Narrow the search, for instance hidden_size=512; may be repeated.",
    )(function)


def format_option(function: _Command) -> _Command:
    return click.option(
        "--format",
        "format",
        metavar="NAME",
        shell_complete=completions.readable_formats,
        help="Take it for this format; see ckpt formats.",
    )(function)


def profile_options(function: _Command) -> _Command:
    """Declare `--for PROFILE` and `--without KIND`.

    The command gets them as `profile` and `without`.
    """
    from ckpt_core.schema.kinds import KINDS

    for_option = click.option(
        "--for",
        "profile",
        type=click.Choice(PROFILES),
        help="What it must be complete for: to compute, to train on, or to train on exactly.",
    )
    without_option = click.option(
        "--without",
        multiple=True,
        type=click.Choice(KINDS),
        metavar="KIND",
        help="With --for: the training has no such part (scheduler, ema, scaler, …); may be repeated.",
    )
    return for_option(without_option(function))


def are_several(refs: Sequence[str]) -> bool:
    """Return True if a command line asks about several.

    A glob does, however many it matches.
    """
    from ckpt_core.cli.options.globs import is_glob

    return len(refs) > 1 or any(map(is_glob, refs))


def require_ref(refs: Sequence[str], hints: dict[str, str]) -> None:
    """Refuse a question about nothing.

    Raises:
        click.UsageError: There is neither a ref nor a hint.
    """
    if not any(refs) and not hints:
        raise click.UsageError("Missing argument 'REF': a path, a URL or a stage name; or give --hint NAME=VALUE.")


def _note_ref(context: click.Context, _: click.Parameter, value: str | None) -> str | None:
    session = context.find_object(Session)
    if session is not None and value is not None:
        shown = shown_place(value)
        if session.ref is None:
            session.ref = shown
        elif isinstance(session.ref, str):
            session.ref = [session.ref, shown]
    return value


def _note_storage(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> None:
    if values:
        from ckpt_core.cli.options import storage

        storage.note(context, parameter, values)


def _note_refs(context: click.Context, _: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    session = context.find_object(Session)
    if session is not None and values:
        shown = [shown_place(value) for value in values]
        session.ref = shown[0] if len(shown) == 1 else shown
    return values


def _parse_hints(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    hints = {}
    for value in values:
        name, equals, content = value.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE.", param_hint="'--hint'")
        hints[name] = content
    return hints
