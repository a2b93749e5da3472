"""What formats declare, taken off a command line: their options, `--variant fp16`, and the hints that their search
understands: `--hidden-size 512` stands for `--hint hidden_size=512`.

Formats are asked for only where a word on the command line is no option of the command itself.
"""

from collections.abc import Iterator, Sequence

import click


def take_format_flags(
    args: Sequence[str], parameters: Sequence[click.Parameter], *, opens: bool
) -> tuple[list[str], dict[str, str]]:
    """What is left for the command, and the options of formats by name.

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
        flag, equals, value = word.partition("=")
        if word == "--":
            left += [word, *words]
        elif not word.startswith("--") or flag in takes_value:
            left.append(word)
            if takes_value.get(word):
                left += [value for value in [next(words, None)] if value is not None]
        else:
            name, is_switch, is_hint = _declared(flag, options=opens, hints="--hint" in takes_value)
            given = value if equals else "true" if is_switch else _next(words, flag)
            if is_hint:
                left += ["--hint", f"{name}={given}"]
            else:
                taken[name] = given
    return left, taken


def describe_flags(*, hints: bool = False) -> list[tuple[str, str]]:
    """Every option that an installed format declares, or every hint, with its help and the formats that have it."""
    from ckpt_core.manager.plugin_manager import get_plugin_manager

    found: dict[tuple[str, str], list[str]] = {}
    for format in get_plugin_manager().formats():
        for option in format.hints if hints else format.options:
            shown = f"--{option.name}" if option.type is bool else f"--{option.name} {option.type.__name__.upper()}"
            found.setdefault((shown, option.help), []).append(format.name)
    return [(shown, f"{help} ({', '.join(names)})") for (shown, help), names in sorted(found.items())]


def _declared(flag: str, *, options: bool, hints: bool) -> tuple[str, bool, bool]:
    """The name as its format writes it, whether it is a switch in every format that has it, whether it is a hint."""
    from ckpt_core.manager.plugin_manager import get_plugin_manager

    formats = get_plugin_manager().formats()
    for among, is_hint in (
        ([option for format in formats for option in format.options] if options else [], False),
        ([hint for format in formats for hint in format.hints] if hints else [], True),
    ):
        having = [option for option in among if option.name.replace("-", "_") == flag[2:].replace("-", "_")]
        if having:
            return having[0].name, all(option.type is bool for option in having), is_hint
    raise click.UsageError(f"No such option: {flag}; no format has it either, see ckpt formats.")


def _next(words: Iterator[str], flag: str) -> str:
    value = next(words, None)
    if value is None:
        raise click.UsageError(f"Option {flag!r} requires an argument.")
    return value
