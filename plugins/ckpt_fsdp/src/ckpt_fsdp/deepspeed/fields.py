"""Reads fields of DeepSpeed's state dicts with type checks.

A file may hold anything under any key.
"""

from collections.abc import Mapping
from typing import Any

from ckpt_core import CorruptError, Opaque, State, TensorRef, printable

Shape = tuple[int, ...]

_MOST_DIMENSIONS = 64
_LARGEST = 1 << 63


class Fields:
    """A dict of a file, read by key and type.

    `path` is the file, for errors.
    """

    __slots__ = ("path", "values")

    def __init__(self, values: State, path: str) -> None:
        if not isinstance(values, dict):
            raise broken(path, "it holds no dict of DeepSpeed's")
        self.values: dict[Any, Any] = values
        self.path = path

    def below(self, key: str) -> "Fields":
        """Return the dict under a key, which must exist."""
        if not isinstance(self.values.get(key), dict):
            raise broken(self.path, f"it has no {key}")
        return Fields(self.values[key], self.path)

    def number(self, key: str) -> int | None:
        """Return a whole number of 0 or more.

        None where the key is not there, or None.
        """
        value = self.values.get(key)
        if value is None:
            return None
        if type(value) is not int or value < 0:
            raise broken(self.path, f"{key} is {printable(repr(value), 40)}")
        return value

    def text(self, key: str) -> str | None:
        value = self.values.get(key)
        return value if isinstance(value, str) else None

    def mapping(self, key: str) -> dict[str, Any]:
        """Return a dict with names as keys.

        An empty one where the key is not there, or None.
        """
        value = self.values.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
            raise broken(self.path, f"{key} is no dict of names")
        return value

    def shapes(self, key: str) -> list[dict[str, Shape]] | None:
        """Return shapes by name, for each group.

        None where the key is not there, or None.
        """
        value = self.values.get(key)
        if value is None:
            return None
        groups = [shapes_of(group, key, self.path) for group in (value if isinstance(value, list) else [value])]
        if len({name for group in groups for name in group}) < sum(map(len, groups)):
            raise broken(self.path, f"{key} has a parameter twice")
        return groups

    def refs(self, key: str) -> list[str] | None:
        """Return the names of the tensors of a list.

        None where the key is not there.
        """
        value = self.values.get(key)
        if value is None:
            return None
        items = value if isinstance(value, list | tuple) else [value]
        if not all(isinstance(item, TensorRef) for item in items):
            raise broken(self.path, f"{key} is no list of tensors")
        return [item.name for item in items]

    def numbers(self, key: str) -> list[int] | None:
        """Return a list of whole numbers.

        One number is a list of it; None where the key is not there.
        """
        value = self.values.get(key)
        if value is None:
            return None
        items = value if isinstance(value, list | tuple) else [value]
        if not all(type(item) is int and item >= 0 for item in items):
            raise broken(self.path, f"{key} is no list of numbers")
        return list(items)


def shapes_of(value: Any, key: str, path: str) -> dict[str, Shape]:
    """Return shapes by name.

    CorruptError where they are something else.
    """
    if not isinstance(value, dict):
        raise broken(path, f"{key} is no dict of shapes")
    for name, shape in value.items():
        sizes = shape if isinstance(shape, tuple | list) else (None,)
        sound = len(sizes) <= _MOST_DIMENSIONS and all(type(size) is int and 0 <= size < _LARGEST for size in sizes)
        if not isinstance(name, str) or not sound:
            raise broken(path, f"{key} has no shape for {printable(str(name), 80)}")
    return {name: tuple(shape) for name, shape in value.items()}


def members(value: State, names: tuple[str, ...]) -> Mapping[str, Any] | None:
    """Return the named attributes of an opaque object.

    Its class was not imported; None where it has not all of them.
    """
    if not isinstance(value, Opaque) or not isinstance(value.state, dict):
        return None
    return value.state if all(name in value.state for name in names) else None


def broken(path: str, reason: str) -> CorruptError:
    """Return ZE014 with a reason."""
    return CorruptError(
        f"{printable(path)}: {reason}; it is not what DeepSpeed writes under this name, copy it again",
        code="ZE014",
        path=path,
    )
