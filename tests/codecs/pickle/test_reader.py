"""Values come out of a pickle as plain state, whatever wrote it, and no name in it is ever imported."""

import datetime
import pathlib
import pickle
import subprocess
import sys
import time
from collections import Counter, OrderedDict, defaultdict, namedtuple
from fractions import Fraction

import numpy as np
import pytest

from ckpt_core import BudgetError, CkptError, CorruptError, UnsafeContentError
from ckpt_core.codecs.pickle.reader import read_pickle
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.findings import Severity
from ckpt_core.schema.state import Array, Opaque, to_json

PROTOCOLS = [2, 3, 4, 5]


class Plain:
    def __init__(self, **values):
        self.__dict__.update(values)


class Slotted:
    __slots__ = ("a", "b")


class Config(dict):
    pass


class Bag(list):
    pass


Point = namedtuple("Point", "x y")


def read(stream):
    return read_pickle(stream, path="x.pkl")


def state(value, protocol=4):
    return read(pickle.dumps(value, protocol)).tree.root


def class_of(value):
    return f"{type(value).__module__}.{type(value).__qualname__}"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "value",
    [None, True, -1, 2**100, 0.1, float("inf"), "é\n", "x" * 300, b"\0\xff" * 200, [], [[1], ()], (1, 2, 3, 4)]
    + [{"a": {1: "x", None: 2, 1.5: 3, b"b": 4, (1, "t"): 5}}],
    ids=repr,
)
def test_plain_values_stay_what_they_are(value, protocol):
    assert state(value, protocol) == value
    assert type(state(value, protocol)) is type(value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_dicts_of_every_kind_become_dicts_in_their_order(protocol):
    assert list(state(OrderedDict(b=1, a=2), protocol).items()) == [("b", 1), ("a", 2)]
    assert state(defaultdict(list, {3: [4]}), protocol) == {3: [4]}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_sets_and_numbers_of_other_kinds_keep_their_content(protocol):
    assert state({5}, protocol) == Opaque("builtins.set", ([5],))
    assert state(frozenset("a"), protocol) == Opaque("builtins.frozenset", (["a"],))
    assert state(1 + 2j, protocol) == Opaque("builtins.complex", (1.0, 2.0))
    assert state(bytearray(b"ab"), protocol) == b"ab"
    assert state(slice(1, None), protocol) == Opaque("builtins.slice", (1, None, None))
    assert state(Counter("aab"), protocol) == Opaque("collections.Counter", ({"a": 2, "b": 1},))
    assert state(datetime.timedelta(1), protocol) == Opaque("datetime.timedelta", (1, 0, 0))
    assert state(pathlib.PurePosixPath("a/b"), protocol).args == ("a", "b")
    assert state(Fraction(1, 3), protocol).class_name == "fractions.Fraction"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_objects_of_unknown_classes_keep_arguments_state_items_and_pairs(protocol):
    slotted = Slotted()
    slotted.a = 1
    config = Config(lr=0.1)
    bag = Bag([1, 2])
    bag.name = "b"
    assert state(Plain(x=1, y=[2]), protocol) == Opaque(class_of(Plain()), (), {"x": 1, "y": [2]})
    assert state(slotted, protocol).state == (None, {"a": 1})
    assert state(config, protocol) == Opaque(class_of(config), (), {"lr": 0.1})
    assert state(bag, protocol) == Opaque(class_of(bag), (), {"state": {"name": "b"}, "items": [1, 2]})
    assert state(Point(1, 2), protocol) == Opaque(class_of(Point(1, 2)), (1, 2))


def test_unknown_classes_are_listed_once():
    found = read(pickle.dumps([Plain(), Plain(), Config()]))
    (finding,) = found.findings
    assert (finding.code, finding.severity) == ("PK004", Severity.WARNING)
    assert class_of(Plain()) in finding.message
    assert found.globals == tuple(sorted([class_of(Plain()), class_of(Config())]))


def test_an_object_that_names_itself_is_named_once():
    assert state_of(b"\x80\x02cm\nC\n)\x81q\x00}X\x06\x00\x00\x00parenth\x00sb.") == Opaque(
        "m.C", (), {"parent": Opaque("m.C")}
    )


def test_a_dict_with_objects_as_keys_becomes_its_pairs():
    value = state({Point(1, 2): "a"})
    assert value == Opaque("builtins.dict", ([(Opaque(class_of(Point(1, 2)), (1, 2)), "a")],))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("code", ["?", "i1", "u1", ">i2", "<u4", ">i8", "<u8", "f2", ">f4", "f8", ">c8", "c16"])
def test_arrays_become_row_major_little_endian_bytes(code, protocol):
    for array in (
        np.arange(6).reshape(2, 3),
        np.arange(24).reshape(2, 3, 4).T,
        np.arange(3)[1:],
        np.array(7),
        np.zeros((0, 2)),
    ):
        value = array.astype(code, order="K")
        kept = state(value, protocol)
        assert isinstance(kept, Array)
        assert kept.shape == value.shape
        assert kept.data == value.astype(np.dtype(code).newbyteorder("<")).tobytes()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpy_scalars_become_numbers(protocol):
    values = [np.float64(0.1), np.float32(0.5), np.float16(2), np.int64(-1), np.uint8(255), np.bool_(True)]
    kept = state(values, protocol)
    assert kept == [0.1, 0.5, 2.0, -1, 255, True]
    assert [type(item) for item in kept] == [float, float, float, int, int, bool]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_state_of_a_random_generator_is_kept(protocol):
    name, keys, position, gauss, cached = np.random.get_state()
    kept = state((name, keys, position, gauss, cached), protocol)
    assert kept == (name, Array(DType.U32, (624,), keys.tobytes()), position, gauss, cached)
    assert state(np.random.default_rng(0), protocol).class_name == "numpy.random._pickle.__generator_ctor"


def test_arrays_of_objects_and_text_stay_opaque_with_a_warning():
    found = read(pickle.dumps({"o": np.array([{}, 1], object), "t": np.array(["ab"])}, 4))
    assert found.tree.root["o"].class_name == "numpy.ndarray"
    assert [(note.code, note.tensor) for note in found.findings] == [("PK005", "o"), ("PK005", "t")]


def test_python_2_pickles_read_like_their_values():
    stream = (
        b"\x80\x02}(U\x01aK\x01U\x02\xc3\xa9K\x02U\x01xcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02i2K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x04\x01\x00\xff\xfftbu."
    )
    assert state_of(stream) == {"a": 1, "é": 2, "x": Array(DType.I16, (2,), b"\x01\x00\xff\xff")}


def state_of(stream):
    return read(stream).tree.root


def reduce_of(function, *args):
    class Payload:
        def __reduce__(self):
            return function, args

    return Payload()


UNSAFE = {
    "os.system": lambda mark: reduce_of(__import__("os").system, f"touch {mark}"),
    "builtins.eval": lambda mark: reduce_of(eval, f"open({str(mark)!r}, 'w')"),
    "builtins.exec": lambda mark: reduce_of(exec, f"open({str(mark)!r}, 'w')"),
    "builtins.getattr": lambda mark: reduce_of(getattr, reduce_of(__import__, "os"), "system"),
    "subprocess.Popen": lambda mark: reduce_of(subprocess.Popen, ["touch", str(mark)]),
    "a payload in a state": lambda mark: Plain(x=reduce_of(eval, "1")),
    "a payload in a key": lambda mark: {Point(reduce_of(eval, "1"), 2): 1},
}


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("name", UNSAFE)
def test_a_function_that_would_run_is_refused_by_name_and_not_run(name, protocol, tmp_path):
    stream = pickle.dumps(UNSAFE[name](tmp_path / "mark"), protocol)
    with pytest.raises(UnsafeContentError) as refused:
        read(stream)
    assert refused.value.code == "PK003"
    assert "x.pkl: asks for " in refused.value.message
    assert "nothing was executed" in refused.value.message
    assert not (tmp_path / "mark").exists()


def test_a_function_that_is_only_named_is_refused_too():
    with pytest.raises(UnsafeContentError, match=r"posix\.system"):
        read(pickle.dumps([__import__("os").system], 4))


def test_a_class_in_a_class_of_data_is_a_name_and_no_call():
    stream = b"\x80\x02cbuiltins\ngetattr\nctorch.optim.adam\nAdam\nX\x05\x00\x00\x00Inner\x86R)\x81."
    assert state_of(stream) == Opaque("torch.optim.adam.Adam.Inner")


GETATTR = {
    "named alone": b"](cbuiltins\ngetattr\ne.",
    "given to another class": b"cmine\nApply\ncbuiltins\ngetattr\n\x85R.",
    "of a class that is not known, for a dunder": b"cbuiltins\ngetattr\ncmine\nThing\nX\x08\x00\x00\x00__call__\x86R.",
    "of a class, for a function": b"cbuiltins\ngetattr\nctorch\nTensor\nX\x05\x00\x00\x00inner\x86R.",
    "of a class, for what runs": b"cbuiltins\ngetattr\nctorch\nTensor\nX\x05\x00\x00\x00Popen\x86R.",
    "by a dotted way": b"cbuiltins\ngetattr\nctorch\nTensor\nX\x03\x00\x00\x00A.B\x86R.",
    "of an object": b"cbuiltins\ngetattr\n]X\x05\x00\x00\x00Inner\x86R.",
}


@pytest.mark.parametrize("name", GETATTR)
def test_getattr_is_refused_in_every_other_use(name):
    with pytest.raises(UnsafeContentError, match="nothing was executed") as refused:
        read(b"\x80\x04" + GETATTR[name])
    assert refused.value.code == "PK003"


def test_unknown_functions_are_recorded_and_not_called(tmp_path):
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')")
    code = f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
from ckpt_core.codecs.pickle.reader import read_pickle
value = read_pickle(b"\\x80\\x02cevil_module\\nrun\\nK\\x01\\x85R.", path="x").tree.root
assert (value.class_name, value.args) == ("evil_module.run", (1,)), value
assert "evil_module" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# A tuple of twice the one before, sixty times, left in memo 0: its hash takes 2**60 steps.
DOUBLED = b")q\x000" + b"h\x00h\x00\x86q\x000" * 60
NINE = b"](" + b"h\x00" * 9 + b"eq\x00"
DEEP = b")" + b"\x85" * 2_000_000
MILLION = 1_000_000
LONG_TEXT = b"X" + MILLION.to_bytes(4, "little") + b"k" * MILLION
# A hundred thousand calls of the function in memo 1 with the arguments in memo 0.
CALLS = b"q\x01](" + b"h\x01h\x00R" * 100_000 + b"e."

BOMBS = {
    "tuples doubled as a key": DOUBLED + b"}h\x00K\x01s.",
    "tuples doubled as keys of an OrderedDict": DOUBLED + b"ccollections\nOrderedDict\n](h\x00K\x01\x86e\x85R.",
    "tuples doubled in a set": DOUBLED + b"\x8f(h\x00\x90.",
    "tuples doubled in a frozenset": DOUBLED + b"(h\x00\x91.",
    "a deep tuple as a key": b"}" + DEEP + b"K\x01s.",
    "a deep tuple in a set": b"\x8f(" + DEEP + b"\x90.",
    "lists nested two million deep": b"]" * 2_000_000 + b"a" * 1_999_999 + b".",
    "a list of itself": b"]q\x00h\x00a.",
    "a dict of itself": b"}q\x00K\x01h\x00s.",
    "lists shared without end": b"]q\x00" + NINE * 30 + b".",
    "a key of a million letters above a million lists": b"}" + LONG_TEXT + b"](" + b"]" * MILLION + b"es.",
    "arguments copied without end": b"(" + b"N" * MILLION + b"tq\x00cm\nC\n" + CALLS,
    "text encoded without end": LONG_TEXT + b"\x85q\x00c_codecs\nencode\n" + CALLS,
    "sizes copied without end": b"(" + b"K\x01" * MILLION + b"t\x85q\x00ctorch\nSize\n" + CALLS,
    "a large frozenset shared without end": b"(" + b"N" * MILLION + b"\x91q\x000](" + b"h\x00" * 100 + b"e.",
    "ten thousand names and one": b"](" + b"".join(b"cm\nC%d\n" % i for i in range(10_001)) + b"e.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_in_seconds(name):
    began = time.process_time()
    with pytest.raises(CkptError) as refused:
        read(b"\x80\x04" + BOMBS[name])
    assert refused.value.code in ("PK001", "PK002")
    assert isinstance(refused.value, CorruptError | BudgetError)
    assert time.process_time() - began < 10


NONSENSE = {
    "attributes on a dict": b"\x80\x02}}U\x01xK\x01sb.",
    "attributes on a list": b"\x80\x02]}U\x01xK\x01sb.",
    "attributes on None": b"\x80\x02N}b.",
    "an item of a string": b"\x80\x02U\x01aK\x00K\x01s.",
    "a call of a string": b"\x80\x02U\x01a)R.",
    "a call of a dict": b"\x80\x02})R.",
    "NEWOBJ of a function": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)\x81.",
    "a call of a dtype": b"\x80\x02ctorch\nfloat32\n)R.",
    "a call of a storage": b"\x80\x02ctorch\nFloatStorage\n)R.",
    "an empty stack": b"\x80\x02.",
    "a mark that is never used": b"\x80\x02(.",
    "appending to nothing": b"\x80\x02a.",
    "an unknown memo index": b"\x80\x02h\x07.",
    "a list as a key": b"\x80\x02}]K\x01s.",
    "an integer of 600 bits as a key": b"\x80\x02}\x8a\x4b" + b"\x01" * 75 + b"K\x01s.",
    "text that is not text": b"\x80\x02X\x01\0\0\0\xff.",
    "a persistent id of a number": b"\x80\x02K\x01Q.",
    "a persistent id of too few": b"\x80\x02U\x07storageU\x01a\x86Q.",
    "an array with too few bytes": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R"
    b"(K\x01K\x09\x85cnumpy\ndtype\nU\x02i2\x85R\x89C\x02abtb.",
    "STACK_GLOBAL of numbers": b"\x80\x04K\x01K\x02\x93.",
}


@pytest.mark.parametrize("name", NONSENSE)
def test_opcodes_that_make_no_sense_together_are_corrupt(name):
    with pytest.raises(CorruptError) as refused:
        read(NONSENSE[name])
    assert refused.value.code == "PK001"
    assert "\n" not in refused.value.message


def test_a_name_is_shown_escaped():
    with pytest.raises(UnsafeContentError) as refused:
        read(b"\x80\x04U\x02osU\x08x\x1b[2J\xe2\x80\xae\x93.")
    assert "os.x\\x1b[2J\\u202e" in refused.value.message


def test_state_that_was_read_has_a_json_form():
    value = state({"a": (1, b"x"), "s": {1}, "n": np.arange(2)})
    assert to_json(value)["a"] == {"$tuple": [1, {"$bytes": "eA=="}]}
