"""Writes objects of named classes as pickles, without importing them.

The form is that of CPython's own pickler (protocol 4), for files that another library unpickles into its own classes.
Equal texts and names are written once, and referred to where they come again, as the pickler does with one object; so
is a `Called` that says so.

Source: CPython, `Lib/pickle.py` (save_reduce, save_dict, save_list, save_tuple) and `Modules/_pickle.c`.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from struct import pack
from typing import Any, NamedTuple

_BATCH = 1000
_SHORT = 256
_SMALL = [b"K%c" % value for value in range(256)]
_MOST_KEPT = 4096


class Global(NamedTuple):
    """A class or function, by its module and name."""

    module: str
    name: str


class Called(NamedTuple):
    """The result of a call of a function or class.

    With `shared`, equal ones are one object.
    """

    function: Global
    args: tuple[Any, ...]
    shared: bool = False


class Instance(NamedTuple):
    """An object of a class, with the state to set.

    The state is a dict of attributes, a tuple for `__setstate__`, or nothing.
    """

    cls: Global
    state: Any = None


class RepeatedValue(NamedTuple):
    """A value whose equals occur often, as separate objects.

    It is made once for each key, and its bytes too.
    """

    key: Hashable
    make: Callable[[], Any]


@dataclass(slots=True)
class LazyDict:
    """A dict whose items are made while it is written.

    Keys and values come one after the other.
    """

    items: Iterable[tuple[Any, Any]]


def write_objects(root: Any) -> bytes:
    """Return the pickle of a tree of objects.

    The tree is made of the classes above, None, bool, int, str, tuple, list and dict.
    """
    writer = _Writer()
    writer.value(root)
    return bytes(writer.out) + b"."


class _Writer:
    def __init__(self) -> None:
        self.out = bytearray(b"\x80\x04")
        self._memo: dict[Any, int] = {}
        self._memoized = 0
        self._heads: dict[tuple[Any, ...], list[bytes]] = {}
        self._made: dict[Hashable, tuple[bytes, int]] = {}

    def value(self, value: Any) -> None:
        kind = type(value)
        if kind is str:
            self._text(value)
        elif kind is int:
            self.out += _SMALL[value] if 0 <= value < len(_SMALL) else _integer(value)
        elif kind is tuple:
            self._tuple(value)
        elif kind is Instance:
            self._instance(value)
        elif kind is RepeatedValue:
            self._repeated(value)
        elif kind is Called:
            self._called(value)
        elif kind is Global:
            self._global(value)
        elif kind is dict:
            self._dict([value.items()] if len(value) <= _BATCH else _batches(value.items()))
        elif kind is LazyDict:
            self._dict(_batches(value.items))
        elif kind is list:
            self._list([value] if len(value) <= _BATCH else _batches(value))
        elif value is None or kind is bool:
            self.out += b"N" if value is None else b"\x88" if value else b"\x89"
        else:
            raise TypeError(kind)

    def _memoize(self, key: Any = None) -> None:
        if key is not None:
            self._memo[key] = self._memoized
        self._memoized += 1
        self.out += b"\x94"

    def _known(self, key: Any) -> bool:
        index = self._memo.get(key)
        if index is None:
            return False
        self.out += _get(index)
        return True

    def _text(self, value: str) -> None:
        if not self._known(value):
            raw = value.encode("utf-8", "surrogatepass")
            head = b"\x8c%c" % len(raw) if len(raw) < _SHORT else b"X" + pack("<I", len(raw))
            self.out += head + raw
            self._memoize(value)

    def _tuple(self, value: tuple[Any, ...]) -> None:
        if not value:
            self.out += b")"
            return
        if len(value) > 3:
            self.out += b"("
        for item in value:
            self.value(item)
        self.out += (b"\x85", b"\x86", b"\x87")[len(value) - 1] if len(value) <= 3 else b"t"
        self._memoize()

    def _global(self, value: Global) -> None:
        if not self._known(value):
            self._text(value.module)
            self._text(value.name)
            self.out += b"\x93"
            self._memoize(value)

    def _called(self, value: Called) -> None:
        if not (value.shared and self._known(value)):
            self._global(value.function)
            self._tuple(value.args)
            self.out += b"R"
            self._memoize(value if value.shared else None)

    def _repeated(self, value: RepeatedValue) -> None:
        made = self._made.get(value.key)
        if made is not None:
            self.out += made[0]
            self._memoized += made[1]
            return
        start, count, named = len(self.out), self._memoized, len(self._memo)
        self.value(value.make())
        # Where something was named for the first time, the next one refers to it instead.
        if len(self._memo) == named and len(self._made) < _MOST_KEPT:
            self._made[value.key] = bytes(self.out[start:]), self._memoized - count

    def _instance(self, value: Instance) -> None:
        state = value.state
        if type(state) is dict and 1 < len(state) <= _BATCH:
            heads = self._heads.get((value.cls, *state)) or self._new_heads(value.cls, tuple(state))
            if heads:
                self._memoized += 2
                for head, item in zip(heads, state.values(), strict=True):
                    self.out += head
                    self.value(item)
                self.out += b"ub"
                return
        self._global(value.cls)
        self.out += b")\x81"
        self._memoize()
        if value.state is not None:
            self.value(value.state)
            self.out += b"b"

    def _new_heads(self, cls: Global, names: tuple[str, ...]) -> list[bytes]:
        """Return the opcodes before each attribute of a class.

        Nothing where the class or a name comes for the first time.
        """
        if any(key not in self._memo for key in (cls, *names)):
            return []
        heads = [_get(self._memo[name]) for name in names]
        heads[0] = _get(self._memo[cls]) + b")\x81\x94}\x94(" + heads[0]
        return self._heads.setdefault((cls, *names), heads)

    def _dict(self, batches: Iterable[Collection[tuple[Any, Any]]]) -> None:
        self.out += b"}"
        self._memoize()
        for batch in batches:
            self.out += b"(" if len(batch) > 1 else b""
            for key, item in batch:
                self.value(key)
                self.value(item)
            self.out += (b"", b"s", b"u")[min(len(batch), 2)]

    def _list(self, batches: Iterable[list[Any]]) -> None:
        self.out += b"]"
        self._memoize()
        for batch in batches:
            self.out += b"(" if len(batch) > 1 else b""
            for item in batch:
                self.value(item)
            self.out += (b"", b"a", b"e")[min(len(batch), 2)]


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def _get(index: int) -> bytes:
    return b"h%c" % index if index < _SHORT else b"j" + pack("<I", index)


def _integer(value: int) -> bytes:
    if 0 <= value < 1 << 16:
        return b"M" + pack("<H", value)
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + pack("<i", value)
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a%c" % len(raw) + raw
