"""The pickle opcodes that files of torch and numpy use.

The expressions that swallow runs of opcodes are here as well.

Opcodes and their operands: CPython, `Lib/pickletools.py`. The text opcodes of protocol 0, the extension registry,
out-of-band buffers and DUP are not here: no file of torch or numpy has them.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from struct import Struct

_ONE = Struct("<B")
_FOUR = Struct("<I")
_FOUR_SIGNED = Struct("<i")
EIGHT = Struct("<Q")

SIZED = {
    ord("X"): _FOUR,
    0x8C: _ONE,
    0x8D: EIGHT,
    ord("C"): _ONE,
    ord("B"): _FOUR,
    0x8E: EIGHT,
    0x96: EIGHT,
    ord("U"): _ONE,
    ord("T"): _FOUR_SIGNED,
    0x8A: _ONE,
    0x8B: _FOUR_SIGNED,
}
"""Opcodes followed by a length and as many bytes: strings, bytes and long integers."""
TEXT = frozenset([ord("X"), 0x8C, 0x8D, ord("U"), ord("T")])
LONG4, FRAME, GLOBAL, STOP = 0x8B, 0x95, ord("c"), ord(".")
OPERANDS = {ord("K"): 1, ord("h"): 1, ord("q"): 1, 0x80: 1, ord("M"): 2, ord("J"): 4, ord("j"): 4, ord("G"): 8}
REWRITTEN = {ord("}"): b"NQ", 0x8F: b"\x88Q", 0x91: b"t\x85Q"}
"""What an empty dict, an empty set and a frozenset become: a constant, or a 1-tuple of the members, and BINPERSID."""

LINES = re.compile(rb"([^\n]{0,1000})\n([^\n]{0,1000})\n")
_TOKEN = rb"[Khq\x80].|M..|[Jjr]....|G.{8}|."
TOKEN = re.compile(_TOKEN, re.DOTALL)
MANY = 4096
MANY_TOKENS = re.compile(rb"(?:%s){%d}+" % (_TOKEN, MANY), re.DOTALL)
"""So many at once: counting them one by one takes ten times as long."""


@lru_cache(maxsize=8)
def runs(memo_bound: int, *, tensors: bool = True) -> Callable[[bytes, int], "re.Match[bytes] | None"]:
    """Return a matcher for runs of fixed-size opcodes.

    Memo indexes in a run are below `(memo_bound + 1) << 16`. With `tensors` it may begin with all the opcodes of a
    tensor, the short string that is its storage's key included.
    """
    put_long = rb"r..[\x00-\x%02x]\x00" % min(memo_bound, 255)
    plain = rb"[()\]NRQabestu01\x81\x85-\x89\x90\x92-\x94]"
    small = rb"[Khq].|J....|M..|j...\x00|G.{8}|\x80[\x00-\x05]"
    run = rb"(?:%s*+(?:%s|%s))*+%s*+" % (plain, put_long, small, plain)
    return re.compile((rb"(?:%s)?+" % _tensor(put_long) if tensors else b"") + run, re.DOTALL).match


def _tensor(put_long: bytes) -> bytes:
    """Return the pattern of the opcodes behind a tensor's name.

    They are those of protocol 2, and most of the opcodes of a checkpoint: so they are matched twice as fast.
    """
    put = rb"(?:q.|%s)" % put_long
    number = rb"(?:K.|M..|J....)"
    sizes = rb"(?:%s{0,3}[t\x85-\x87]|\(%s+t)%s" % (number, number, put)
    key = b"|".join(rb"\x%02x\x00\x00\x00.{%d}" % (length, length) for length in range(1, 7))
    storage = rb"\(h.h.X(?:%s)%sh.%st%sQ" % (key, put, number, put)
    return rb"%sh.\(%s%s%s%s[\x88\x89]h.\)R%st%sR%s" % (put, storage, number, sizes, sizes, put, put, put)
