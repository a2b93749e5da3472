"""Checks the options of formats.

It types them, and chooses those that a claim and its parts are read with.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ckpt_core.arguments import option as option_named
from ckpt_core.errors import (
    FormatError,
    UsageError,
)
from ckpt_core.manager.parts import is_itself, match_of_part
from ckpt_core.schema.access import Files
from ckpt_core.schema.formats import FormatMatch
from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    from ckpt_core.hookspecs import Plugins


def checked_options(
    manager: "Plugins", format: str, options: Mapping[str, Any], *, writing: bool = False
) -> dict[str, Any]:
    """Return options with the types that the format declares.

    Raises:
        UsageError: The format has no such option (names those that have), has it for the other of reading and
            writing, or the value is not of its type.
    """
    declared = {option.name: option for option in manager.format(format).options}
    checked = {}
    for name, value in options.items():
        if name not in declared:
            having = [f.name for f in manager.formats() if any(option.name == name for option in f.options)]
            where = f"formats that have it: {', '.join(having)}" if having else "no format has it"
            raise UsageError(f"{option_named(name)}: format {format} has no such option; {where}")
        if not (declared[name].writes if writing else declared[name].reads):
            here, other = ("writing", "reading") if writing else ("reading", "writing")
            raise UsageError(f"{option_named(name)}: an option for {other} {format}, not for {here} it")
        kind = declared[name].type
        try:
            checked[name] = _as_bool(value) if kind is bool else kind(value)
        except ValueError:
            raise UsageError(f"{option_named(name, printable(str(value)))}: not {kind.__name__}") from None
    return checked


def _as_bool(value: Any) -> bool:
    text = str(value).lower()
    if text in ("true", "1", "yes", ""):
        return True
    if text in ("false", "0", "no"):
        return False
    raise ValueError(value)


def readable_options(manager: "Plugins", files: "Files", match: FormatMatch) -> set[str]:
    """Return the options that a claim's formats read with.

    They are the options of its own format and of its parts' formats, by name.
    """
    names = {option.name for option in manager.format(match.format).options if option.reads}
    for part in match.parts:
        below = files.below(part.root)
        try:
            below_match = match_of_part(manager, below, part)
        except FormatError:
            continue  # opening the part says what is wrong with it
        if not is_itself(below_match, part, match):
            names |= readable_options(manager, below, below_match)
    return names


def own_options(manager: "Plugins", files: Files, match: FormatMatch, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options for the format itself.

    They are those that it has, and those that none of its parts has either.
    """
    if not options or not match.parts:
        return options
    having = {option.name for option in manager.format(match.format).options if option.reads}
    others = readable_options(manager, files, match) - having
    return {name: value for name, value in options.items() if name not in others}
