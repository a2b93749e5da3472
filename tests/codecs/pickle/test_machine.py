"""The machine of inert values: what Python's unpickler makes of data, and nothing of what it would run."""

import collections
import io
import pickle
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_core import BudgetError, CorruptError, UnsafeContentError, UnsupportedFormatError, knobs
from ckpt_core.codecs.pickle.machine import HookValue, Machine, PickledName, PickledObject
from ckpt_core.codecs.pickle.verdicts.extraction import extracting

KEYS = st.text(max_size=8) | st.integers(-(2**40), 2**40) | st.booleans() | st.none()
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=20)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=5)
        | inner.map(lambda value: [value, value, {"shared": value}])
    ),
    max_leaves=30,
)


def read(data, *, hooks=None, makers=None):
    return Machine(data, path="x", hooks=hooks or {}, makers=makers or {}).read()


@settings(max_examples=200, deadline=None)
@given(value=VALUES, protocol=st.integers(3, 5))
def test_data_is_read_as_python_reads_it(value, protocol):
    assert read(pickle.dumps(value, protocol)) == value


def test_long_lists_dicts_and_strings_are_read():
    value = {"many": list(range(5000)), "dict": {str(i): i for i in range(5000)}, "text": "é" * 70_000}
    assert read(pickle.dumps(value)) == value


def test_objects_are_made_of_their_names_alone():
    made = read(pickle.dumps(collections.Counter("aab")))
    assert (type(made), made.full_name) == (PickledObject, "collections.Counter")
    assert type(read(pickle.dumps(collections.Counter))) is PickledName


@settings(max_examples=100, deadline=None)
@given(value=VALUES, cut=st.integers(0, 200))
def test_a_stream_that_ends_early_is_corrupt(value, cut):
    stream = pickle.dumps(value)
    if cut < len(stream):
        with pytest.raises(CorruptError):
            read(stream[:cut])


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=60), prefix=st.sampled_from([b"", b"\x80\x04", b"\x80\x02(", b"\x80\x04]\x94(", b"c"]))
def test_noise_is_corrupt_or_read_and_never_anything_else(data, prefix):
    try:
        read(prefix + data)
    except (CorruptError, BudgetError, UnsupportedFormatError, UnsafeContentError):
        pass


@pytest.mark.parametrize(
    "stream",
    [
        b"cos\nsystem\n(S'x'\ntR.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x01x\x85R.",
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.",
        b"\x80\x04\x8c\x05torch\x8c\x04load\x93.",
        b"\x80\x04\x8c\x05torch\x8c\x0bhub.load_it\x93.",
    ],
)
def test_what_would_run_code_is_unsafe(stream):
    with pytest.raises(UnsafeContentError) as error:
        read(stream)
    assert error.value.code == "PK003"


def test_a_class_of_an_unknown_package_is_refused_by_name():
    with pytest.raises(UnsupportedFormatError, match=r"somebody\.Thing") as error:
        read(b"\x80\x04\x8c\x08somebody\x8c\x05Thing\x93.")
    assert error.value.code == "PK006"


@pytest.mark.parametrize(
    "stream",
    [
        b"\x80\x09N.",
        b"h\x00.",
        b"j\xff\xff\xff\x7f.",
        b"Nr\xff\xff\xff\x7fNq\x00Nq\x00.",
        b"\x8e" + struct.pack("<Q", 1 << 60) + b"x.",
        b"X\xff\xff\xff\xffx.",
        b"\x8a\xff" + bytes(255) + b".",
        b"t.",
        b"N\x87.",
        b"]Na" + b"Na" * 3 + b"Nu.",
        b"}(NNNu.",
        b"}(]Nu.",
        b"}((ttNu.",
        b"}(\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fNu.",
        b"Nb.",
        b"NN.",
        b"NNR.",
        b"P0\n.",
    ],
)
def test_opcodes_that_make_no_sense_are_corrupt(stream):
    with pytest.raises(CorruptError):
        read(stream)


def test_a_stream_of_too_many_opcodes_is_over_budget():
    with knobs.override(header_limit=32 * 1000), pytest.raises(BudgetError) as error:
        read(b"]" + b"Na" * 600 + b".")
    assert error.value.code == "PK002"


def test_values_nested_without_end_cost_no_recursion():
    depth = 100_000
    value = read(b"]" * depth + b"a" * (depth - 1) + b".")
    while value:
        (value,) = value
        depth -= 1
    assert depth == 1


class Point:
    def __init__(self, at, name):
        self.at = at
        self.name = name


class Points(HookValue):
    __slots__ = ("found",)

    def __init__(self, found):
        self.found = found


def hook(machine, at):
    """Takes in objects of one memoized attribute tuple, as torch's hooks do: class, NEWOBJ, a dict of one number."""
    text = machine.texts.get("at")
    start = at - 2
    record = machine.data[start:at] + b")\x81\x94}\x94(h%cK" % (text or 0)
    found, position = [], start
    while machine.data.startswith(record, position):
        value = position + len(record)
        if machine.data[value + 1 : value + 2] != b"h":
            break
        name = machine.memo.get(machine.data[value + 2])
        end = value + 3
        if name != "name" or machine.data[end : end + 1] != b"\x8c":
            break
        length = machine.data[end + 1]
        text_end = end + 2 + length
        found.append((machine.data[value], machine.data[end + 2 : text_end].decode()))
        assert machine.data[text_end : text_end + 3] == b"\x94ub"
        position = text_end + 3
    if not found:
        return at
    machine.stack[-1] = Points(found)
    machine.swallowed(start, position, 3 * len(found))
    return position


def test_what_a_hook_swallowed_is_replayed_where_the_stream_refers_to_it():
    names = [f"n{i}" for i in range(20)]
    points = [Point(i, name) for i, name in enumerate(names)]
    Point.__module__, Point.__qualname__ = "torch.points", "Point"
    module = type(pickle)("torch.points")
    module.Point = Point
    import sys

    sys.modules["torch.points"] = module
    try:
        out = io.BytesIO()
        pickle.Pickler(out, 4).dump([points, names, points[7]])
    finally:
        del sys.modules["torch.points"]
    with_hook = read(out.getvalue(), hooks={"torch.points.Point": hook})
    plain = read(out.getvalue(), hooks={"torch.points.Point": lambda machine, at: at})
    swallowed = [item for item in with_hook[0] if isinstance(item, Points)]
    assert [pair for item in swallowed for pair in item.found] == [(i, f"n{i}") for i in range(1, 20)]
    assert with_hook[1] == plain[1] == names
    assert with_hook[2].state == plain[2].state == {"at": 7, "name": "n7"}


@pytest.mark.parametrize("name", ["posix\nsystem", "builtins\neval", "torch\nload"])
def test_a_dangerous_table_is_refused_under_extraction_too_and_that_is_not_advised(name):
    stream = b"\x80\x04c" + name.encode() + b"\n."
    with extracting(), pytest.raises(UnsafeContentError) as error:
        Machine(stream, path="x/.metadata", hooks={}, makers={}).read()
    assert error.value.exit_code == 7
    assert "--extract" not in error.value.message
