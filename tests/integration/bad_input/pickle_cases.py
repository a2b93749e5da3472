"""Torch zip files with a hostile or broken pickle inside: code, bombs, nonsense, and lies about tensors."""

from collections.abc import Iterator
from pathlib import Path
from struct import pack
from typing import Any

from tests.integration.bad_input.cases import Case, file_case
from tests.integration.bad_input.payloads import Payload, payloads
from tests.integration.bad_input.pickle_bytes import Raw, call, glob, pickled, push, storage, tensor
from tests.integration.bad_input.zip_cases import with_pickle

UNSAFE, REFUSED, CORRUPT, TOO_MUCH = (7,), (4, 7), (4,), (4, 8)
_REFUSED_BY_OPCODE = {"INST", "OBJ", "DUP", "text opcodes of protocol 0", "a string of Python 2"}


def cases() -> Iterator[Case]:
    for payload in payloads():
        exits = REFUSED if payload.name in _REFUSED_BY_OPCODE else UNSAFE
        says = "" if payload.name in _REFUSED_BY_OPCODE else "execute"
        yield file_case(f"pickle: runs code: {payload.name}", _carrier(payload), exits, says, file="model.pth")
    for number in (0x82, 0x83, 0x84):
        code = bytes([number]) + b"\1" * (1 << (number - 0x82))
        stream = b"\x80\x02" + code + b")R."
        yield file_case(f"pickle: runs code: extension {number:#x}", with_pickle(stream), REFUSED, file="model.pth")
    yield file_case("pickle: runs code: in a storage's location", _in_location, UNSAFE, "execute", file="model.pth")
    yield file_case("pickle: runs code: as a storage's class", _as_storage_class, (4, 7), file="model.pth")
    yield file_case("pickle: runs code: in the second place", _second, UNSAFE, "execute", file="model.pth")
    for name, stream in _bombs():
        yield file_case(f"pickle: bomb: {name}", with_pickle(stream), TOO_MUCH, "model.pth", file="model.pth")
    for name, stream in _nonsense():
        yield file_case(f"pickle: nonsense: {name}", with_pickle(stream), CORRUPT, "model.pth", file="model.pth")
    for name, value in _tensor_lies():
        yield file_case(f"pickle: lie: {name}", with_pickle(pickled(value)), CORRUPT, "model.pth", file="model.pth")


def _carrier(payload: Payload) -> Any:
    def content(marker: Path) -> bytes:
        return with_pickle(payload.stream(marker))

    return content


def _in_location(marker: Path) -> bytes:
    evil = call(glob("os.system"), f"touch {marker}")
    pid = Raw(push(("storage", glob("torch.FloatStorage"), "0", evil, 4)) + b"Q")
    return with_pickle(pickled({"a": tensor(pid)}))


def _as_storage_class(marker: Path) -> bytes:
    pid = Raw(push(("storage", glob("os.system"), "0", "cpu", 4)) + b"Q")
    return with_pickle(pickled({"a": tensor(pid)}))


def _second(marker: Path) -> bytes:
    return with_pickle(pickled({"a": tensor(), "b": call(glob("os.system"), f"touch {marker}")}))


def _list_of(opcodes: bytes, count: int) -> bytes:
    return b"\x80\x02](" + opcodes * count + b"e."


def _laughs(make: bytes, levels: int, width: int = 10) -> bytes:
    """Each value holds the one before it `width` times; `make` closes one."""
    out = b"\x80\x02" + push("ha") + b"q\x00"
    for level in range(levels):
        out += (
            b"0(" + b"h" + bytes([level]) * 1 + (b"h" + bytes([level])) * (width - 1) + make + b"q" + bytes([level + 1])
        )
    return out + b"."


def _bombs() -> Iterator[tuple[str, bytes]]:
    yield "a memo index of 2**31", b"\x80\x02Nr\xff\xff\xff\x7f."
    yield "a memo index of 2**32 - 1", b"\x80\x02Nr\xff\xff\xff\xff."
    yield "a memo index of 2**26", b"\x80\x02Nr\x00\x00\x00\x04."
    yield "text of 2**63 bytes", b"\x80\x04\x8d" + pack("<Q", 1 << 63) + b"x."
    yield "bytes of 2**64 - 1", b"\x80\x04\x8e" + pack("<Q", (1 << 64) - 1) + b"x."
    yield "bytes of a gigabyte", b"\x80\x04\x8e" + pack("<Q", 1 << 30) + b"x."
    yield "a bytearray of 100 GB", b"\x80\x05\x96" + pack("<Q", 100 << 30) + b"x."
    yield "bytes of 4 GB in 32 bits", b"\x80\x03B\xff\xff\xff\xff."
    yield "text of 4 GB in 32 bits", b"\x80\x02X\xff\xff\xff\xff."
    yield "a string of -1 bytes", b"\x80\x02T\xff\xff\xff\xff."
    yield "an integer of -1 bytes", b"\x80\x02\x8b\xff\xff\xff\xff."
    yield "an integer of 2 GB", b"\x80\x02\x8b\xff\xff\xff\x7f."
    yield "an integer of a megabyte", b"\x80\x02\x8b" + pack("<I", 1 << 20) + b"\x7f" * (1 << 20) + b"."
    yield "a frame of 2**63 bytes", b"\x80\x04\x95" + pack("<Q", 1 << 63) + b"N."
    yield "lists of lists, 10**30", _laughs(b"l".replace(b"l", b"t"), 30)
    yield "lists that hold each other 200 times", _shared_lists(200)
    yield "nested a million deep", b"\x80\x02N" + b"\x85" * 1_000_000 + b"."
    yield "lists nested a million deep", b"\x80\x02" + b"](" * 1_000_000 + b"e" * 1_000_000 + b"."
    yield "dicts nested 100,000 deep", b"\x80\x02" + b"}(K\x00" * 100_000 + b"N" + b"u" * 100_000 + b"."
    yield "objects nested 100,000 deep", b"\x80\x02" + (glob("a.B") + b"(") * 100_000 + b"N" + b"tR" * 100_000 + b"."
    yield "marks without end", b"\x80\x02" + b"(" * 2_000_000 + b"."
    yield "twelve million values", _list_of(b"N", 12_000_000)
    yield "twenty thousand names", b"\x80\x02](" + b"".join(glob(f"m{i}.C") for i in range(20_000)) + b"e."
    yield "a key that hashes for ever", b"\x80\x02}" + _laughs(b"t", 40, 2)[2:-1] + b"Ns."
    yield "a member of a set that hashes for ever", b"\x80\x04\x8f(" + _laughs(b"t", 40, 2)[2:-1] + b"\x90."
    yield "a frozenset that hashes for ever", b"\x80\x04(" + _laughs(b"t", 40, 2)[2:-1] + b"\x91."
    yield "an OrderedDict whose key hashes for ever", _key_in_call("collections.OrderedDict")
    yield "a tuple of a million, passed as arguments 10,000 times", _arguments("a.B", b"t")
    yield "a list of a million, made a torch.Size 10,000 times", _copies("torch.Size", push([0] * 1_000_000))
    yield "a text of a megabyte, encoded 10,000 times", _copies("_codecs.encode", push("x" * (1 << 20)))
    yield "bytes of a megabyte, copied 10,000 times", _copies("builtins.bytes", push(b"x" * (1 << 20)))
    yield "a bytearray of a megabyte, copied 10,000 times", _copies("builtins.bytearray", push(b"x" * (1 << 20)))
    pairs = Raw(b"(" + b"".join(push((index, None)) for index in range(100_000)) + b"t")
    yield "100,000 pairs, made a dict 1,000 times", _copies("collections.OrderedDict", pairs, 1000)
    yield (
        "keys of one hash",
        b"\x80\x02}(" + b"".join(push(i * ((1 << 61) - 1)) + b"N" for i in range(1, 50_000)) + b"u.",
    )
    yield "texts of 5,000 digits as a number", b"\x80\x02\x8b" + pack("<I", 2000) + b"\x7f" * 2000 + b"."
    many = {f"t{i}": tensor(None, 0, ((1 << 20) + i,), (0,)) for i in range(1000)}
    yield "1,000 broadcasts of 4 MB", pickled(many)
    yield "a broadcast of 2**60 elements", pickled({"a": tensor(None, 0, (1 << 60,), (0,))})
    yield "a broadcast of 2**40 by 2**20", pickled({"a": tensor(None, 0, (1 << 40, 1 << 20), (0, 0))})
    yield "a broadcast of a terabyte", pickled({"a": tensor(None, 0, (1 << 38,), (0,))})
    yield (
        "10,000 broadcasts of a gigabyte",
        pickled({f"t{i}": tensor(None, i % 4, (1 << 28, 1), (0, 1)) for i in range(10_000)}),
    )
    yield "a window of a terabyte over 16 bytes", pickled({"a": tensor(None, 0, (*(2,) * 38, 1), (*(0,) * 38, 1))})


def _shared_lists(levels: int) -> bytes:
    out = b"\x80\x02]q\x00"
    for level in range(levels):
        out += b"]q" + bytes([level + 1]) + b"(" + (b"h" + bytes([level])) * 10 + b"e"
    return out + b"."


def _key_in_call(function: str) -> bytes:
    key = Raw(_laughs(b"t", 40, 2)[2:-1])
    return pickled(call(glob(function), [(key, None)]))


def _arguments(function: str, close: bytes) -> bytes:
    arguments = b"(" + b"N" * 1_000_000 + close + b"q\x00" + b"0"
    return b"\x80\x02" + arguments + glob(function) + b"q\x010](" + b"h\x01h\x00R" * 10_000 + b"e."


def _copies(function: str, argument: bytes, times: int = 10_000) -> bytes:
    memo = argument + b"\x85q\x000" + glob(function) + b"q\x010"
    return b"\x80\x02" + memo + b"](" + b"h\x01h\x00R" * times + b"e."


def _nonsense() -> Iterator[tuple[str, bytes]]:
    yield "nothing", b""
    yield "no STOP", b"\x80\x02N"
    yield "STOP on an empty stack", b"\x80\x02."
    yield "STOP behind a mark", b"\x80\x02(."
    yield "protocol 6", b"\x80\x06N."
    yield "protocol 255", b"\x80\xffN."
    yield "an unknown opcode", b"\x80\x02\xffN."
    yield "text instead", b"hello world\n"
    yield "JSON instead", b'{"a": 1}'
    yield "POP of nothing", b"\x80\x020N."
    yield "POP_MARK of nothing", b"\x80\x021N."
    yield "a tuple without a mark", b"\x80\x02NNt."
    yield "a pair of one", b"\x80\x02N\x86."
    yield "a memo that was never put", b"\x80\x02h\x05."
    yield "a negative memo", b"\x80\x02j\xff\xff\xff\xff."
    yield "REDUCE of a number", b"\x80\x02K\x01)R."
    yield "REDUCE with no tuple", b"\x80\x02" + glob("a.B") + b"K\x01R."
    yield "NEWOBJ of a number", b"\x80\x02K\x01)\x81."
    yield "NEWOBJ_EX of a number", b"\x80\x04K\x01)}\x92."
    yield "BUILD on a number", b"\x80\x02K\x01}b."
    yield "BUILD on a dict", b"\x80\x02}}b."
    yield "BUILD on a tensor", pickled(Raw(tensor() + b"}b"))
    yield "BUILD on nothing", b"\x80\x02}b."
    yield "SETITEM on a list", b"\x80\x02]K\x00K\x01s."
    yield "SETITEM on a number", b"\x80\x02K\x01K\x00K\x01s."
    yield "SETITEM on a tensor", pickled(Raw(tensor() + push(0) + push(1) + b"s"))
    yield "SETITEMS of three", b"\x80\x02}(K\x00K\x01K\x02u."
    yield "SETITEMS on text", b"\x80\x02" + push("x") + b"(K\x00K\x01u."
    yield "APPEND to a dict", b"\x80\x02}K\x01a."
    yield "APPENDS to a tuple", b"\x80\x02)(K\x01e."
    yield "APPENDS to a tensor", pickled(Raw(tensor() + b"(K\x01e"))
    yield "ADDITEMS to a list", b"\x80\x04](K\x01\x90."
    yield "a list as a key", b"\x80\x02}]Ns."
    yield "a dict as a key", b"\x80\x02}}Ns."
    yield "STACK_GLOBAL of numbers", b"\x80\x04K\x01K\x02\x93."
    yield "GLOBAL without an end", b"\x80\x02cos.system"
    yield "GLOBAL that is not UTF-8", b"\x80\x02c\xff\xfe\n\xff\n)R."
    yield "text that is not UTF-8", b"\x80\x02X\x02\0\0\0\xff\xfe."
    yield "a name of a million bytes", b"\x80\x02c" + b"m" * 1_000_000 + b"\nC\n."
    yield "a list that holds itself", b"\x80\x02]q\x00h\x00a."
    yield "a dict that holds itself", b"\x80\x02}q\x00K\x01h\x00s."
    yield "an out-of-band buffer", b"\x80\x05\x97."
    yield "a persistent id that is a number", b"\x80\x02K\x01Q."
    yield "a persistent id in text", b"\x80\x02Pstorage\n."
    yield "a persistent id of another kind", b"\x80\x02" + push(("evil", 1, 2, 3, 4)) + b"Q."
    yield "an empty persistent id", b"\x80\x02)Q."
    yield "numpy data that does not fit", _array(b"x" * 7, (2,))
    yield "numpy of a negative shape", _array(b"x" * 8, (-1,))
    yield "numpy of a huge shape", _array(b"x" * 8, (1 << 62, 1 << 62))


def _array(data: bytes, shape: Any) -> bytes:
    kind = Raw(call(glob("numpy.dtype"), "f4", False, True) + push((3, "<", None, None, None, -1, -1, 0)) + b"b")
    made = call(glob("numpy.core.multiarray._reconstruct"), glob("numpy.ndarray"), (0,), b"b")
    return pickled({"a": Raw(made + push((1, shape, kind, False, data)) + b"b")}, 3)


def _tensor_lies() -> Iterator[tuple[str, Any]]:
    numbers = {
        "an offset beyond the storage": (4,),
        "an offset of 2**62": (1 << 62,),
        "an offset of 2**64": (1 << 64,),
        "a negative offset": (-1,),
        "an offset of text": ("0",),
        "an offset of truth": (True,),
        "an offset of 0.0": (0.0,),
        "no offset": (None,),
        "more elements than the storage": (0, (5,)),
        "a size of 2**62": (0, (1 << 62,)),
        "a size of 2**63": (0, (1 << 63,)),
        "sizes that wrap around": (0, (1 << 32, 1 << 32), (1 << 32, 1)),
        "a negative size": (0, (-4,)),
        "a size of text": (0, ("4",)),
        "a size of truth": (0, (True,)),
        "sizes in a list": (0, [4]),
        "sizes in a number": (0, 4),
        "no sizes": (0, None),
        "more sizes than strides": (0, (2, 2), (1,)),
        "more strides than sizes": (0, (4,), (1, 1)),
        "65 dimensions": (0, (1,) * 65, (1,) * 65),
        "a million dimensions": (0, (1,) * 1_000_000, (1,) * 1_000_000),
        "a negative stride": (0, (4,), (-1,)),
        "a negative stride from the end": (3, (4,), (-1,)),
        "a stride beyond the storage": (0, (2,), (4,)),
        "a stride of 2**62": (0, (2,), (1 << 62,)),
        "strides that wrap around": (0, (5, 1), (1 << 62, 1)),
        "a stride of text": (0, (4,), ("1",)),
        "no strides": (0, (4,), None),
        "strides that leave the storage in the second dimension": (0, (2, 2), (2, 2)),
    }
    for name, arguments in numbers.items():
        yield name, {"a": tensor(None, *arguments)}
    storages = {
        "a storage with more elements than its record": storage("0", 5),
        "a storage with fewer elements than its record": storage("0", 3),
        "a storage of 2**62 elements": storage("0", 1 << 62),
        "a storage of 2**61 elements of 8 bytes": storage("0", 1 << 61, "torch.DoubleStorage"),
        "a storage of -4 elements": storage("0", -4),
        "a storage of 4.0 elements": storage("0", 4.0),
        "a storage of text elements": storage("0", "4"),
        "a storage of wider elements than its record": storage("0", 4, "torch.DoubleStorage"),
        "a storage that is missing": storage("9", 4),
        "a storage under ../": storage("../data/0", 4),
        "a storage under a path": storage("/etc/passwd", 4),
        "a storage that is the pickle": storage("../data.pkl", 4),
        "a storage under a number": storage(0, 4),
        "a storage under a name of a megabyte": storage("x" * (1 << 20), 4),
        "a storage under escape sequences": storage("\x1b[2J\n", 4),
        "a storage under a surrogate": storage("\ud800", 4),
        "a storage of a class that is none": storage("0", 4, "torch.Tensor"),
        "a storage of an unknown class": storage("0", 4, "evil.Storage"),
        "a view of a storage beyond it": storage("0", 4, view=("v", 3, 4)),
        "a view that is no view": storage("0", 4, view="x"),
    }
    for name, held in storages.items():
        yield name, {"a": tensor(held, 0, (3,))}
    yield "a tensor under a name of a megabyte", {"x" * (1 << 20): tensor()}
    yield "one storage of two sizes", {"a": tensor(), "b": tensor(storage("0", 3), 0, (3,))}
    yield "one storage of two types and sizes", {"a": tensor(), "b": tensor(storage("0", 4, "torch.HalfStorage"))}
    yield "a tensor over text", {"a": tensor(push("0"))}
    yield "a tensor over a tensor", {"a": tensor(tensor())}
    yield "a tensor over a class", {"a": tensor(glob("torch.FloatStorage"))}
    yield "a tensor of one argument", {"a": call(glob("torch._utils._rebuild_tensor_v2"), storage())}
    yield (
        "a tensor of ten arguments",
        {"a": call(glob("torch._utils._rebuild_tensor_v2"), storage(), 0, (4,), (1,), *range(6))},
    )
    yield (
        "a tensor of bytes of a type that is none",
        {"a": call(glob("torch._utils._rebuild_tensor_v3"), storage(), 0, (4,), (1,), False, {}, "x")},
    )
    yield (
        "a tensor subclass made of text",
        {"a": call(glob("torch._tensor._rebuild_from_type_v2"), "x", "y", "z", None)},
    )
    yield "a torch.Size of text", call(glob("torch.Size"), "abc")
