"""A pickle machine that keeps every value inert.

Hooks may swallow long stretches of one kind.

It is for large, regular pickles, as a `.metadata` of a million chunks is. `reader.read_pickle` keeps every object that
a stream memoizes alive until its end; here a hook may take in what it recognises by other means, and leave one value in
its place. What a hook swallowed is replayed opcode by opcode when the stream refers to something in it, so a stream
means the same with hooks and without.

Opcodes and their meaning: CPython, `Lib/pickle.py` (_Unpickler) and `Lib/pickletools.py`.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping
from itertools import repeat
from struct import unpack_from
from typing import Any, NoReturn

from ckpt_core import knobs
from ckpt_core.codecs.pickle.verdicts.policy import Judged, canonical
from ckpt_core.codecs.pickle.verdicts.table import NameVerdict
from ckpt_core.errors import BudgetError, CkptError, CorruptError, UnsupportedFormatError
from ckpt_core.schema.text import printable

# An opcode becomes an object of 50 to 100 bytes, as in `scan`.
_BYTES_PER_OPCODE = 32
_LONGEST_INTEGER = 8
_LARGEST_KEY = 1 << 60
_LONGEST_TUPLE_KEY = 64
_KEYS = frozenset([str, int, float, bool, bytes, type(None)])
_STOP = ord(".")
_BROKEN = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class PickledName:
    """A class or function that a stream names.

    It is never imported.
    """

    __slots__ = ("full_name", "hook", "make")

    def __init__(self, full_name: str, hook: "Hook | None", make: Callable[..., Any] | None) -> None:
        self.full_name = full_name
        self.hook = hook
        self.make = make


class PickledObject:
    """An object that a stream makes of a name.

    It holds the arguments, and the state that is set on it afterwards.
    """

    __slots__ = ("args", "full_name", "items", "state")

    def __init__(self, full_name: str, args: Any) -> None:
        self.full_name = full_name
        self.args = args
        self.state: Any = None
        self.items: list[Any] = []


class HookValue:
    """A value that a hook leaves on the stack.

    A subclass says what is in it.
    """

    __slots__ = ()


Hook = Callable[["Machine", int], int]
"""Called with the position behind an opcode that put a name on the stack; returns where to go on.

Where that is further on, it has replaced what is on top of the stack and told `Machine.swallowed`.
"""


class Machine:
    """An interpreter of one pickle stream.

    Args:
        data: The stream, from its first byte.
        path: The file, for messages.
        hooks: By the full name of a global.
        makers: What is called with the arguments of a global of that full name, and checks them.

    Attributes:
        memo: Values by their memo index, but for those that a hook swallowed. None is ever replaced.
        count: How many were memoized, those included.
        stack: What was put since the last mark.
        texts: The last memo index of each string.
        names: The last memo index of each name.
    """

    def __init__(
        self,
        data: bytes,
        *,
        path: str,
        hooks: Mapping[str, Hook],
        makers: Mapping[str, Callable[..., Any]],
    ) -> None:
        self.data = data
        self.path = path
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.count = 0
        self.texts: dict[str, int] = {}
        self.names: dict[str, int] = {}
        self._hooks = hooks
        self._makers = makers
        self._below: list[list[Any]] = []
        self._runs: list[tuple[int, int, int]] = []
        self._names: dict[tuple[str, str], PickledName] = {}
        self._replaying = False
        self._handlers = self._table()

    def read(self) -> Any:
        """Return the value of the stream.

        Raises:
            UnsafeContentError: PK003, it names something that would run code.
            UnsupportedFormatError: PK006, it names something of a package that is not known.
            CorruptError: PK001, it is not a sound pickle.
            BudgetError: PK002, it has more opcodes than `knobs.header_limit` allows, those that hooks swallow aside.
        """
        try:
            self._run(0, len(self.data), knobs.header_limit() // _BYTES_PER_OPCODE)
            (value,) = self.stack
        except CkptError:
            raise
        except _BROKEN as error:
            raise self.corrupt(str(error) or type(error).__name__) from error
        return value

    def swallowed(self, start: int, end: int, memoized: int) -> None:
        """Account for the opcodes that a hook took in.

        They go from byte `start` to `end`, with `memoized` MEMOIZE opcodes among them.
        """
        self._runs.append((self.count, start, end))
        self.count += memoized

    def corrupt(self, reason: str) -> CorruptError:
        """Return PK001 with a reason."""
        return CorruptError(
            f"{printable(self.path)}: not a sound pickle: {printable(reason, 160)}; get the file again",
            code="PK001",
            path=self.path,
        )

    def _run(self, position: int, end: int, most: int) -> None:
        data, handlers = self.data, self._handlers
        for _ in repeat(None, most):
            opcode = data[position]
            if opcode == _STOP or position >= end:
                return
            position = handlers[opcode](position + 1)
        raise BudgetError(
            f"{printable(self.path)}: its pickle has {most} opcodes or more that are not of a regular table; "
            "raise CKPT_HEADER_LIMIT if you trust the file",
            code="PK002",
            path=self.path,
        )

    def _table(self) -> list[Callable[[int], int]]:
        table: list[Callable[[int], int]] = [self._unknown] * 256
        for opcodes, handler in (
            (b"\x80", self._protocol),
            (b"\x95", self._frame),
            (b"(", self._mark),
            (b"N\x88\x89", self._constant),
            (b"KM", self._small),
            (b"J", self._signed),
            (b"\x8a", self._long),
            (b"G", self._float),
            (b"\x8cXCB\x8d\x8e", self._sized),
            (b")t\x85\x86\x87", self._tuple),
            (b"]}\x8f", self._empty),
            (b"aes\x90u", self._fill),
            (b"\x91", self._frozenset),
            (b"c", self._global),
            (b"\x93", self._stack_global),
            (b"R\x81", self._make),
            (b"b", self._build),
            (b"\x94", self._memoize),
            (b"qr", self._put),
            (b"hj", self._get),
        ):
            for opcode in opcodes:
                table[opcode] = handler
        return table

    def _unknown(self, at: int) -> NoReturn:
        raise self.corrupt(f"opcode 0x{self.data[at - 1]:02x} at byte {at - 1} does not belong in a table of tensors")

    def _protocol(self, at: int) -> int:
        if self.data[at] > 5:
            raise ValueError(f"protocol {self.data[at]}")
        return at + 1

    def _frame(self, at: int) -> int:
        return at + 8

    def _mark(self, at: int) -> int:
        self._below.append(self.stack)
        self.stack = []
        return at

    def _above_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self._below.pop()
        return items

    def _constant(self, at: int) -> int:
        opcode = self.data[at - 1]
        self.stack.append(None if opcode == 0x4E else opcode == 0x88)
        return at

    def _small(self, at: int) -> int:
        data = self.data
        if data[at - 1] == 0x4B:
            self.stack.append(data[at])
            return at + 1
        self.stack.append(data[at] | data[at + 1] << 8)
        return at + 2

    def _signed(self, at: int) -> int:
        self.stack.append(int.from_bytes(self._bytes(at, 4), "little", signed=True))
        return at + 4

    def _long(self, at: int) -> int:
        length = self.data[at]
        if length > _LONGEST_INTEGER:
            raise ValueError(f"an integer of {length} bytes")
        self.stack.append(int.from_bytes(self._bytes(at + 1, length), "little", signed=True))
        return at + 1 + length

    def _float(self, at: int) -> int:
        self.stack.append(unpack_from(">d", self._bytes(at, 8))[0])
        return at + 8

    def _sized(self, at: int) -> int:
        opcode = self.data[at - 1]
        width = 1 if opcode in b"\x8cC" else 4 if opcode in b"XB" else 8
        length = int.from_bytes(self._bytes(at, width), "little")
        content = self._bytes(at + width, length)
        self.stack.append(content if opcode in b"CB\x8e" else content.decode("utf-8", "surrogatepass"))
        return at + width + length

    def _bytes(self, at: int, length: int) -> bytes:
        content = self.data[at : at + length]
        if len(content) < length:
            raise ValueError("it ends in the middle of a value")
        return content

    def _tuple(self, at: int) -> int:
        opcode = self.data[at - 1]
        if opcode == 0x29:
            self.stack.append(())
        elif opcode == 0x74:
            items = self._above_mark()
            self.stack.append(tuple(items))
        else:
            count = opcode - 0x84
            if len(self.stack) < count:
                raise LookupError("a tuple of more than there is")
            self.stack[-count:] = [tuple(self.stack[-count:])]
        return at

    def _empty(self, at: int) -> int:
        opcode = self.data[at - 1]
        self.stack.append([] if opcode == 0x5D else {} if opcode == 0x7D else PickledObject("builtins.set", ()))
        return at

    def _fill(self, at: int) -> int:
        opcode = self.data[at - 1]
        if opcode in b"as":
            count = 1 if opcode == 0x61 else 2
            items = self.stack[-count:]
            del self.stack[-count:]
        else:
            items = self._above_mark()
        target = self.stack[-1]
        if opcode in b"us":
            self._set_items(target, items)
        elif type(target) is list:
            target.extend(items)
        elif type(target) is PickledObject:
            target.items.extend(items)
        else:
            raise TypeError(f"items put into a {type(target).__name__}")
        return at

    def _set_items(self, target: Any, items: list[Any]) -> None:
        if len(items) % 2:
            raise LookupError("a key without a value")
        pairs = zip(items[::2], items[1::2], strict=True)
        if type(target) is PickledObject:
            target.items.extend(pairs)
        elif type(target) is dict:
            for key, value in pairs:
                if type(key) is not str:
                    _check_key(key)
                target[key] = value
        else:
            raise TypeError(f"pairs put into a {type(target).__name__}")

    def _frozenset(self, at: int) -> int:
        made = PickledObject("builtins.frozenset", ())
        made.items = self._above_mark()
        self.stack.append(made)
        return at

    def _global(self, at: int) -> int:
        first = self.data.index(b"\n", at, at + 1001)
        second = self.data.index(b"\n", first + 1, first + 1002)
        self.stack.append(self._name(self.data[at:first].decode(), self.data[first + 1 : second].decode()))
        return self._hooked(second + 1)

    def _stack_global(self, at: int) -> int:
        name, module = self.stack.pop(), self.stack.pop()
        if type(name) is not str or type(module) is not str:
            raise TypeError("a name that is no text")
        self.stack.append(self._name(module, name))
        return at

    def _name(self, module: str, name: str) -> PickledName:
        known = self._names.get((module, name))
        if known is None:
            full_name = canonical(module, name)
            known = PickledName(full_name, self._hooks.get(full_name), self._makers.get(full_name))
            if known.make is None and known.hook is None:
                self._judge(full_name, name)
            self._names[module, name] = known
        return known

    def _judge(self, full_name: str, name: str) -> None:
        if Judged(self.path, extractable=False).name(full_name, name) >= NameVerdict.UNKNOWN:
            raise UnsupportedFormatError(
                f"{printable(self.path)}: asks for {printable(full_name)}, a class that is not known here; "
                "it was not imported; save the checkpoint without it",
                code="PK006",
                path=self.path,
            )

    def _make(self, at: int) -> int:
        args = self.stack.pop()
        name = self.stack.pop()
        if type(name) is not PickledName or type(args) is not tuple:
            raise TypeError("an object made of something that is no class")
        self.stack.append(PickledObject(name.full_name, args) if name.make is None else name.make(*args))
        return at

    def _build(self, at: int) -> int:
        state = self.stack.pop()
        made = self.stack[-1]
        if type(made) is not PickledObject or made.state is not None:
            raise TypeError("a state set on something that takes none")
        made.state = state
        return at

    def _memoize(self, at: int) -> int:
        if self.count in self.memo and not self._replaying:
            raise LookupError(f"memo {self.count} is put twice")
        self._remember(self.count, self.stack[-1])
        self.count += 1
        return at

    def _put(self, at: int) -> int:
        width = 1 if self.data[at - 1] == 0x71 else 4
        index = int.from_bytes(self._bytes(at, width), "little")
        if index in self.memo:
            raise LookupError(f"memo {index} is put twice")
        self.count += 1
        self._remember(index, self.stack[-1])
        return at + width

    def _remember(self, index: int, value: Any) -> None:
        self.memo[index] = value
        if type(value) is str:
            self.texts[value] = index
        elif type(value) is PickledName:
            self.names[value.full_name] = index

    def _get(self, at: int) -> int:
        width = 1 if self.data[at - 1] == 0x68 else 4
        index = int.from_bytes(self._bytes(at, width), "little")
        if index not in self.memo:
            self._replay(index)
        value = self.memo[index]
        self.stack.append(value)
        return self._hooked(at + width) if type(value) is PickledName else at + width

    def _hooked(self, at: int) -> int:
        hook = None if self._replaying else self.stack[-1].hook
        return at if hook is None else hook(self, at)

    def _replay(self, index: int) -> None:
        """Replay swallowed opcodes for a memo index in them."""
        at_run = bisect_right(self._runs, index, key=lambda run: run[0]) - 1
        if at_run < 0 or self._replaying:
            raise LookupError(f"memo {index} is asked for before it is put")
        first, start, end = self._runs.pop(at_run)
        state = self.stack, self._below, self.count
        self.stack, self._below, self.count, self._replaying = [], [], first, True
        try:
            self._run(start, end, knobs.header_limit() // _BYTES_PER_OPCODE)
        finally:
            (self.stack, self._below, self.count), self._replaying = state, False


def _check_key(key: Any) -> None:
    """Raise TypeError for a key that is slow to hash.

    A stream could make such a hash take as long as it wants.
    """
    kind = type(key)
    if kind is tuple:
        if len(key) > _LONGEST_TUPLE_KEY or not all(type(item) in _KEYS for item in key):
            raise TypeError("a long or nested tuple as the key of a dict")
    elif kind is int:
        if not -_LARGEST_KEY < key < _LARGEST_KEY:
            raise TypeError("an integer of more than 60 bits as the key of a dict")
    elif kind not in _KEYS and kind is not PickledObject and not isinstance(key, HookValue):
        raise TypeError(f"a {kind.__name__} as the key of a dict")
