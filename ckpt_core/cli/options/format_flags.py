"""Takes the options and hints of formats off a command line.

An option is `--variant fp16`; a hint is one that their search understands: `--hidden-size 512` stands for `--hint
hidden_size=512`.

Formats are asked for only where a word on the command line is no option of the command itself.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ckpt_core.schema.formats import Format, FormatOption


def take_format_flags(
    args: Sequence[str], parameters: Sequence[click.Parameter], *, opens: bool
) -> tuple[list[str], dict[str, str]]:
    """Return the command's own words, and formats' options by name.

    Args:
        args: The command line behind the command.
        parameters: The command's own.
        opens: Whether it takes options of formats; hints are for those that have `--hint`.

    Raises:
        click.UsageError: A word is no option of the command nor of any format, or lacks its value.
    """
    takes_value = {name: not getattr(p, "is_flag", False) for p in parameters for name in p.opts if name[:1] == "-"}
    takes_value.setdefault("--help", False)
    left: list[str] = []
    taken: dict[str, str] = {}
    words = iter(args)
    for word in words:
        long, (typed, equals, value) = word.startswith("--"), word.partition("=")
        name = kebab(typed) if long else word
        if word == "--":
            left += [word, *words]
        elif not long or name in takes_value:
            left.append(f"{name}{equals}{value}" if long else word)
            if takes_value.get(name) and not (long and equals):
                left += [value for value in [next(words, None)] if value is not None]
        else:
            name, is_switch, is_hint = _declared(typed, takes_value, options=opens)
            given = value if equals else "true" if is_switch else _next(words, typed)
            if is_hint:
                left += ["--hint", f"{name}={given}"]
            else:
                taken[name] = given
    return left, taken


def flags_by_format(*, writes: bool) -> list[tuple[str, str]]:
    """Return each format's options that a command can use.

    They are those for reading, and for writing where it writes.
    """
    return _by_format(
        (format.name, [option for option in format.options if option.reads or writes]) for format in _formats()
    )


def hints_by_format() -> list[tuple[str, str]]:
    """Each format with the hints that its search understands."""
    return _by_format((format.name, format.hints) for format in _formats())


def kebab(name: str) -> str:
    """Return a name as command lines show it.

    Guides spell it as Python does, and both are taken.
    """
    return name.replace("_", "-")


def _by_format(by_format: "Iterable[tuple[str, Sequence[FormatOption]]]") -> list[tuple[str, str]]:
    from ckpt_core.schema.text import printable

    return [
        (printable(name), ", ".join(f"--{printable(kebab(option.name))}" for option in options))
        for name, options in by_format
        if options
    ]


def _formats() -> "Sequence[Format]":
    from ckpt_core.manager.plugin_manager import get_plugin_manager

    return get_plugin_manager().formats()


def _declared(typed: str, own: Collection[str], *, options: bool) -> tuple[str, bool, bool]:
    """Return the declared name, whether it is a switch, or a hint.

    The name is as its format writes it; it is a switch where it is one in every format that has it.
    """
    formats = _formats()
    declared = [option for format in formats for option in format.options] if options else []
    hints = [hint for format in formats for hint in format.hints] if "--hint" in own else []
    for among, is_hint in ((declared, False), (hints, True)):
        having = [option for option in among if kebab(option.name) == kebab(typed[2:])]
        if having:
            return having[0].name, all(option.type is bool for option in having), is_hint
    known = [*own, *(f"--{kebab(option.name)}" for option in (*declared, *hints))]
    from ckpt_core.schema.text import did_you_mean

    meant = did_you_mean(typed, [name for name in known if name.startswith("--")])
    raise click.UsageError(f"No such option: {typed}; {meant or 'no format has it either, see ckpt formats.'}")


def _next(words: Iterator[str], flag: str) -> str:
    value = next(words, None)
    if value is None:
        raise click.UsageError(f"Option {flag!r} requires an argument.")
    return value
