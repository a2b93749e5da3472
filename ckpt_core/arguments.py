"""The names of arguments in messages, as Python or a shell.

`components=['model']` in Python is `--component model` in a shell.

Whoever raises marks an argument with `argument` or `option`. The message of an error reads as Python; the command line
shows `in_shell(message)` in place of it. So one sentence serves both, and neither names what its reader cannot type.
"""

import re
from typing import Any

_MARK = re.compile("\x02([^\x03]*)\x03")
_BARE = object()

_FLAGS = {
    "best": "--keep-best",
    "components": "--component",
    "destination": "DESTINATION",
    "dtypes": "--dtype",
    "every": "--keep-every",
    "first": "A",
    "hints": "--hint",
    "last": "--keep-last",
    "profile": "--for",
    "ref": "REF",
    "second": "B",
    "source": "SOURCE",
}
"""Arguments whose flag is not their own name with hyphens."""


def argument(name: str, value: Any = _BARE) -> str:
    """Return the mark of an argument, for a message.

    Args:
        name: As a public function has it; `depth`, say.
        value: Of plain types; without one the argument is named alone.
    """
    return _mark("argument", name, value)


def option(name: str, value: Any = _BARE) -> str:
    """Return the mark of an option that a format declares.

    It reads `options={'ranks': 4}` in Python, `--ranks 4` in a shell.
    """
    return _mark("option", name, value)


class Message(str):
    """A message that reads as Python.

    Attributes:
        marked: The same with its marks, to build a longer message of.
        shell: The same with flags.
    """

    marked: str
    shell: str

    def __new__(cls, marked: str) -> "Message":
        made = super().__new__(cls, _MARK.sub(lambda match: _shown(match, _as_python), marked))
        made.marked = marked
        made.shell = _MARK.sub(lambda match: _shown(match, _as_flag), marked)
        return made


def message(text: str) -> str:
    """Return a text with its marks spelled as in Python.

    It is the text itself where it has none.
    """
    return Message(text) if "\x02" in text else text


def marked(text: str) -> str:
    """Return a message with its marks, for a longer message.

    It is the message itself where it has none.
    """
    return text.marked if isinstance(text, Message) else text


def in_shell(text: str) -> str:
    """Return a message with flags in place of Python's arguments."""
    return text.shell if isinstance(text, Message) else text


def _mark(kind: str, name: str, value: Any) -> str:
    import json

    return f"\x02{json.dumps([kind, name] if value is _BARE else [kind, name, value])}\x03"


def _shown(match: "re.Match[str]", spell: Any) -> str:
    import json

    try:
        kind, name, *value = json.loads(match[1])
        return str(spell(kind, name, value))
    except ValueError:
        return match[0]  # of a text that is not ours


def _as_python(kind: str, name: str, value: list[Any]) -> str:
    if kind == "option":
        return f"options={{{name!r}: {value[0]!r}}}" if value else f"options[{name!r}]"
    return f"{name}={value[0]!r}" if value else f"{name}="


def _as_flag(kind: str, name: str, value: list[Any]) -> str:
    flag = _FLAGS.get(name) if kind == "argument" else None
    flag = flag or "--" + name.replace("_", "-")
    if not value or value[0] is True:
        return flag
    return " ".join(f"{flag} {_quoted(one)}" for one in _each(value[0]))


def _each(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [f"{key}={one}" for key, one in value.items()]
    return [str(one) for one in (value if isinstance(value, list) else [value])]


def _quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)
