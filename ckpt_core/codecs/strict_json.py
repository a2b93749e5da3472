"""Parses JSON objects strictly: no key twice, no NaN.

Readers that differ there see different files.
"""

import json
from typing import Any


class DuplicateKeyError(Exception):
    """An object has `key` twice.

    Which of the two counts would depend on the parser.
    """

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class NotAnObjectError(Exception):
    """A text is not a JSON object.

    The message says what it is instead.
    """


def parse_object(raw: bytes) -> dict[str, Any]:
    """Parse the JSON object that UTF-8 bytes hold.

    Raises:
        DuplicateKeyError: A key comes twice, at any depth.
        NotAnObjectError: It is something else, or no JSON.
    """
    try:
        text = raw.decode("utf-8")
        value = json.loads(text, parse_constant=_no_constant)
        if text.count(":") != _pairs(value):
            value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is no text, as other parsers say
    except UnicodeEncodeError:
        raise NotAnObjectError("not JSON (half a surrogate pair in a text)") from None
    except (ValueError, RecursionError) as error:
        raise NotAnObjectError(f"not JSON ({type(error).__name__})") from None
    if not isinstance(value, dict):
        raise NotAnObjectError("not a JSON object")
    return value


def _pairs(found: Any) -> int:
    """Return the number of keys in the upper two levels.

    Each pair in the text has one colon outside of strings, so as many colons as this means that no key came twice: the
    usual header needs no second, slow parse that looks at every pair.
    """
    if not isinstance(found, dict):
        return 0
    return len(found) + sum(len(value) for value in found.values() if isinstance(value, dict))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise DuplicateKeyError(key)
            seen.add(key)
    return unique


def _no_constant(name: str) -> Any:
    raise ValueError(name)
