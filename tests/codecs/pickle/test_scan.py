"""Streams are walked without being run, and what would hurt the unpickler is refused before it sees it."""

import pickle
import time
from collections import OrderedDict

import pytest

from ckpt_core import BudgetError, CkptError, CorruptError, knobs
from ckpt_core.codecs.pickle.scan import TruncatedError, scan, scan_head

VALUE = {"a": [1, 2.5, None, True, -3, 2**70, "é", b"x", (1, (2, 3))], "b": OrderedDict(c={1, 2}), "d": frozenset([9])}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_scan_ends_behind_stop_and_leaves_what_follows(protocol):
    stream = pickle.dumps(VALUE, protocol)
    assert scan(stream + b"rest", path="x").end == len(stream)


def test_global_opcodes_are_named_and_nothing_is_imported():
    found = scan(b"\x80\x02cno.such.module\nName\n)R.", path="x")
    assert found.globals == {"no.such.module.Name"}


@pytest.mark.parametrize("protocol", [2, 4])
def test_every_prefix_of_a_stream_asks_for_more_or_is_refused(protocol):
    stream = pickle.dumps(VALUE, protocol)
    for end in range(len(stream)):
        with pytest.raises(TruncatedError) as short:
            scan(stream[:end], path="x", available=len(stream))
        assert end < short.value.needed <= len(stream)
        with pytest.raises(CorruptError):
            scan(stream[:end], path="x")


REFUSED = {
    "memo index of 2**32 - 1": b"\x80\x02Nr\xff\xff\xff\xff.",
    "memo index beyond the stream": b"\x80\x02Nr\x00\x00\x01\x00.",
    "BINBYTES8 of 2**63 bytes": b"\x80\x04\x8e" + (1 << 63).to_bytes(8, "little") + b"x.",
    "BYTEARRAY8 beyond the stream": b"\x80\x05\x96" + (100).to_bytes(8, "little") + b"x.",
    "BINUNICODE beyond the stream": b"\x80\x02X\xff\xff\xff\x7fx.",
    "LONG4 of a negative length": b"\x80\x02\x8b\xff\xff\xff\xff.",
    "LONG4 of a million digits": b"\x80\x02\x8b" + (400_000).to_bytes(4, "little") + b"\x01" * 400_000 + b".",
    "BINSTRING of a negative length": b"\x80\x02T\xff\xff\xff\xff.",
    "frame beyond the stream": b"\x80\x04\x95" + (1 << 40).to_bytes(8, "little") + b"N.",
    "protocol 6": b"\x80\x06N.",
    "EXT1": b"\x80\x02\x82\x01.",
    "NEXT_BUFFER": b"\x80\x05\x97.",
    "READONLY_BUFFER": b"\x80\x05\x98.",
    "DUP": b"\x80\x02N2.",
    "INST": b"(ios\nsystem\n.",
    "OBJ": b"(cos\nsystem\no.",
    "PERSID": b"Pstorage\n.",
    "text PUT": b"Np0\n.",
    "text LONG": b"L1L\n.",
    "name of a megabyte": b"c" + b"a" * (1 << 20) + b"\nb\n.",
    "empty": b"",
    "no opcodes": b"<!DOCTYPE html>",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_stream_that_would_hurt_the_unpickler_is_corrupt(name):
    with pytest.raises(CorruptError) as refused:
        scan(REFUSED[name], path="x.pth")
    assert refused.value.code == "PK001"
    assert refused.value.path == "x.pth"


@pytest.mark.parametrize("opcode", [b"]", b"}", b"U\x00", b"("])
def test_opcodes_beyond_the_budget_are_refused(opcode):
    with knobs.override(header_limit=64_000), pytest.raises(BudgetError, match="CKPT_HEADER_LIMIT"):
        scan(opcode * 10_000 + b".", path="x")


def test_bytes_of_operands_do_not_count_as_opcodes():
    stream = pickle.dumps([bytes([index % 256]) * 100 for index in range(100)] + list(range(70_000, 70_600)), 4)
    with knobs.override(header_limit=32 * 1400):
        assert scan(stream, path="x").end == len(stream)


def test_a_large_stream_of_the_most_expensive_opcode_ends_in_seconds():
    began = time.process_time()
    with pytest.raises(CkptError):
        scan(b"}" * (8 << 20), path="x")
    assert time.process_time() - began < 10


def test_a_head_tells_names_and_strings_up_to_where_it_ends():
    stream = pickle.dumps({"model": OrderedDict(), "optimizer": 1, "last": 2}, 2)
    head = scan_head(stream[: stream.index(b"last")])
    assert head.globals == {"collections.OrderedDict"}
    assert head.strings == ("model", "optimizer")
    assert scan_head(b"garbage").strings == ()
