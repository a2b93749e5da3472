"""JSON read strictly: no key twice, no NaN, and always an object. Readers that differ there see different files."""

import json
from typing import Any


class DuplicateKeyError(Exception):
    """An object has `key` twice; which of the two counts would depend on the parser."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class NotAnObjectError(Exception):
    """It is not a JSON object; the text says what it is instead."""


def parse_object(raw: bytes) -> dict[str, Any]:
    """The object that UTF-8 text holds.

    Raises:
        DuplicateKeyError: A key comes twice, at any depth.
        NotAnObjectError: It is something else, or no JSON.
    """
    try:
        text = raw.decode("utf-8")
        found = json.loads(text, parse_constant=_no_constant)
        if text.count(":") != _pairs(found):
            found = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
        if "\\u" in text:
            json.dumps(found, ensure_ascii=False).encode()  # half of a surrogate pair is no text, as other parsers say
    except UnicodeEncodeError:
        raise NotAnObjectError("not JSON (half a surrogate pair in a text)") from None
    except (ValueError, RecursionError) as error:
        raise NotAnObjectError(f"not JSON ({type(error).__name__})") from None
    if not isinstance(found, dict):
        raise NotAnObjectError("not a JSON object")
    return found


def _pairs(found: Any) -> int:
    """Keys of an object and of the objects right below it.

    Each pair in the text has one colon outside of strings, so as many colons as this means that no key came twice:
    the usual header needs no second, slow parse that looks at every pair.
    """
    if not isinstance(found, dict):
        return 0
    return len(found) + sum(len(value) for value in found.values() if isinstance(value, dict))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise DuplicateKeyError(key)
            seen.add(key)
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(name)
