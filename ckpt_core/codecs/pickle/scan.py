"""Walks a pickle's opcodes without executing any.

It proves that the stream is fit for the C unpickler.

The C unpickler trusts a stream in two ways that a file can abuse. It reserves memory for whatever index or length an
opcode names: the scan bounds those. And it hashes every key of a dict and every member of a set at once, which takes
exponential time, or overflows the C stack, for tuples nested in themselves: so the scan hands back a stream in which
dicts and sets are asked of `persistent_load`, whose answer looks at a key before hashing it. Frames are merged to one.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ckpt_core import knobs
from ckpt_core.codecs.pickle.opcodes import (
    EIGHT,
    FRAME,
    GLOBAL,
    LINES,
    LONG4,
    MANY,
    MANY_TOKENS,
    OPERANDS,
    REWRITTEN,
    SIZED,
    STOP,
    TEXT,
    TOKEN,
    runs,
)
from ckpt_core.errors import BudgetError, CorruptError
from ckpt_core.schema.text import printable

MAKE_DICT = None
"""What the rewritten stream asks `persistent_load` for where the original makes an empty dict."""

MAKE_SET = True
"""The same for an empty set; a frozenset is asked for with a 1-tuple of its members."""

# The longest integer: 2466 digits, below the 4300 that Python agrees to print.
_LONGEST_INTEGER = 1024
# An opcode becomes an object of 50 to 100 bytes. The default limit of 256 MiB allows eight million, which take less
# than 1 GiB and a few seconds; a tensor takes about thirty.
_BYTES_PER_OPCODE = 32
# Of those, the ones looked at one by one (strings, names, dicts): one million. A tensor has one or two.
_BYTES_PER_LOOK = 256
_LARGEST_MEMO = 1 << 24


@dataclass(frozen=True, slots=True)
class Scan:
    """The result of scanning one stream.

    Attributes:
        end: Offset behind its STOP in the scanned buffer.
        stream: The same pickle, rewritten for the C unpickler.
        globals: Names that GLOBAL opcodes ask for, as `module.name`. STACK_GLOBAL takes its names from the stack,
            which a scan does not know.
    """

    end: int
    stream: bytes
    globals: frozenset[str]


@dataclass(frozen=True, slots=True)
class Head:
    """The names and strings at the start of a stream.

    The names are those of GLOBAL; the strings come in the stream's order.
    """

    globals: frozenset[str]
    strings: tuple[str, ...]


class TruncatedError(Exception):
    """The buffer ends before the stream does.

    At least `needed` bytes of the stream are needed.
    """

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


def scan(data: bytes, start: int = 0, *, path: str, available: int | None = None) -> Scan:
    """Check the stream that starts at `start`.

    Args:
        data: Bytes of the file, or of a record of it.
        start: Where the stream starts in them.
        path: The file, for messages.
        available: Bytes that `data` would have if it were read to its end; None where it was.

    Raises:
        TruncatedError: `data` ends before the stream, and there is more to read.
        CorruptError: PK001, not a pickle stream.
        BudgetError: PK002, more opcodes than `knobs.header_limit` allows.
    """
    walk = _Walk(data, start, len(data) if available is None else available, path)
    walk.run()
    return Scan(walk.position, walk.rewritten(), frozenset(walk.globals))


def scan_head(head: bytes, start: int = 0) -> Head:
    """Return the names and strings in a stream's first bytes.

    Up to where the bytes end or stop making sense.
    """
    strings: list[str] = []
    walk = _Walk(head, start, len(head) + knobs.header_limit(), "", strings.append)
    try:
        walk.run()
    except (TruncatedError, CorruptError, BudgetError):
        pass  # what was seen so far is the answer
    return Head(frozenset(walk.globals), tuple(strings))


class _Walk:
    """One pass over a stream.

    A regular expression swallows runs of small opcodes, the rest is looked at here.
    """

    def __init__(
        self, data: bytes, start: int, available: int, path: str, on_text: Callable[[str], None] | None = None
    ) -> None:
        self.data = data
        self.start = self.position = start
        self.available = available
        self.path = path
        self.globals: set[str] = set()
        self.pieces: list[bytes] = []
        self.kept = start
        self._on_text = on_text

    def run(self) -> None:
        data, size, match = self.data, len(self.data), runs(min(self.available - self.start, _LARGEST_MEMO) >> 16)
        position, sized, swallowed, looked_at = self.position, SIZED, 0, 0
        most_looks = knobs.header_limit() // _BYTES_PER_LOOK
        while True:
            end = match(data, position).end()  # type: ignore[union-attr]  # an empty run matches
            swallowed += end - position
            looked_at += 1
            if end >= size or looked_at > most_looks:
                raise self._short(end + 1) if end >= size else self._too_many(looked_at)
            opcode = data[end]
            header = sized.get(opcode)
            if header is not None and end + header.size < size:
                length = header.unpack_from(data, end + 1)[0]
                position = end + 1 + header.size + length
                if position > size or length < 0 or self._on_text or opcode == LONG4:
                    self._check_sized(opcode, end, length, position)
            elif opcode == STOP:
                self.position = end + 1
                self._check_count(swallowed, looked_at)
                return
            else:
                position = self._other(opcode, end)

    def rewritten(self) -> bytes:
        """Return the stream as one frame.

        The C unpickler reads it without asking for each opcode.
        """
        body = b"".join([*self.pieces, self.data[self.kept : self.position]])
        return b"\x95" + EIGHT.pack(len(body)) + body

    def _other(self, opcode: int, at: int) -> int:
        replacement = REWRITTEN.get(opcode)
        if replacement is not None:
            self._replace(at, at + 1, replacement)
            return at + 1
        if opcode == GLOBAL:
            return self._global(at)
        if opcode == FRAME:
            if at + 9 > len(self.data):
                raise self._short(at + 9)
            if EIGHT.unpack_from(self.data, at + 1)[0] > self.available - at - 9:
                raise self._corrupt(at, "a frame longer than the stream")
            self._replace(at, at + 9, b"")
            return at + 9
        self._check_whole(opcode, at)
        raise self._corrupt(at, f"opcode 0x{opcode:02x} does not belong in a checkpoint, or its operand is too large")

    def _check_whole(self, opcode: int, at: int) -> None:
        """Raise if the buffer cuts off a small opcode.

        One that no run swallowed may only be cut off by the end of the buffer.
        """
        width = SIZED[opcode].size if opcode in SIZED else 4 if opcode == ord("r") else OPERANDS.get(opcode, 0)
        if at + 1 + width > len(self.data):
            raise self._short(at + 1 + width)

    def _replace(self, start: int, stop: int, replacement: bytes) -> None:
        self.pieces.append(self.data[self.kept : start])
        self.pieces.append(replacement)
        self.kept = stop

    def _global(self, at: int) -> int:
        lines = LINES.match(self.data, at + 1)
        if lines is None:
            if len(self.data) - at < 2000:
                raise self._short(len(self.data) + 1)
            raise self._corrupt(at, "a name of more than 1000 bytes")
        module, name = lines.groups()
        self.globals.add(f"{module.decode('utf-8', 'replace')}.{name.decode('utf-8', 'replace')}")
        return lines.end()

    def _check_sized(self, opcode: int, at: int, length: int, end: int) -> None:
        if length < 0 or end > self.available:
            raise self._corrupt(at, f"a value of {length} bytes, more than the stream has")
        if opcode == LONG4 and length > _LONGEST_INTEGER:
            raise self._corrupt(at, f"an integer of {length} bytes")
        if end > len(self.data):
            raise self._short(end)
        if self._on_text and opcode in TEXT:
            self._on_text(self.data[end - length : end].decode("utf-8", "replace"))

    def _check_count(self, swallowed: int, looked_at: int) -> None:
        limit = knobs.header_limit() // _BYTES_PER_OPCODE
        opcodes = looked_at + swallowed
        if opcodes > limit:  # each swallowed byte was counted as an opcode: count exactly
            opcodes = looked_at + self._count_swallowed()
        if opcodes > limit:
            raise self._too_many(opcodes)

    def _count_swallowed(self) -> int:
        match, position, count = runs(_LARGEST_MEMO >> 16, tensors=False), self.start, 0
        while True:
            end = match(self.data, position).end()  # type: ignore[union-attr]  # an empty run matches
            count += _count(self.data[position:end])
            opcode = self.data[end]
            if opcode == STOP:
                return count
            header = SIZED.get(opcode)
            if header is not None:
                position = end + 1 + header.size + header.unpack_from(self.data, end + 1)[0]
            elif opcode == GLOBAL:
                position = LINES.match(self.data, end + 1).end()  # type: ignore[union-attr]  # it did in `run`
            else:
                position = end + (9 if opcode == FRAME else 1)

    def _short(self, needed: int) -> Exception:
        if needed <= self.available:
            return TruncatedError(needed)
        return self._corrupt(len(self.data), "it ends in the middle of a value")

    def _too_many(self, opcodes: int) -> BudgetError:
        return BudgetError(
            f"{printable(self.path)}: its pickle has {opcodes} opcodes or more; "
            "raise CKPT_HEADER_LIMIT if you trust the file",
            code="PK002",
            path=self.path,
        )

    def _corrupt(self, at: int, reason: str) -> CorruptError:
        return CorruptError(
            f"{printable(self.path)}: not a sound pickle: {reason} (at byte {at - self.start} of the stream); "
            "get the file again",
            code="PK001",
            path=self.path,
        )


def _count(opcodes: bytes) -> int:
    """Return the number of opcodes in a run of small ones."""
    count = at = 0
    for many in MANY_TOKENS.finditer(opcodes):
        count, at = count + MANY, many.end()
    return count + TOKEN.subn(b"", opcodes[at:])[1]
