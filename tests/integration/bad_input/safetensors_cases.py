"""Safetensors files that break each rule of the format; rules in the safetensors README and `tensor.rs`."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.integration.bad_input.cases import Case, file_case

CORRUPT = (4,)
_OPEN = b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}'


def entry(begin: Any, end: Any, shape: Any = (4,), dtype: Any = "F32", **more: Any) -> dict[str, Any]:
    shape = list(shape) if isinstance(shape, tuple) else shape
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


def table(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A file of this header (text as it is), which claims `length` bytes of header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def two(second: dict[str, Any], data: int = 32) -> bytes:
    return table({"a": entry(0, 16), "b": second}, bytes(data))


GOOD = table({"a": entry(0, 16), "b": entry(16, 76, (3, 5)), "__metadata__": {"format": "pt"}}, bytes(range(76)))


def cases() -> Iterator[Case]:
    for name, content, says in (*_lengths(), *_headers(), *_entries(), *_layouts(), *_texts()):
        yield file_case(f"safetensors: {name}", content, CORRUPT, says, file="model.safetensors")
    yield Case("safetensors: claims 99 MB of header in a sparse file", _sparse, frozenset(CORRUPT), "header")
    yield Case("safetensors: ends a terabyte after the file", _far_end, frozenset(CORRUPT), "truncated")
    yield Case("safetensors: a terabyte of zeros", _terabyte, frozenset(CORRUPT), "zero bytes")


def _lengths() -> Iterator[tuple[str, bytes, str]]:
    yield "one byte", b"\x01", "model.safetensors"
    yield "seven bytes", b"\x02\0\0\0\0\0\0", "model.safetensors"
    yield "eight bytes, a header of two", b"\x02" + bytes(7), "truncated"
    yield "header of no bytes", table(b"", b""), "zero bytes"
    yield "header of no bytes, then data", table(b"", bytes(64)), "model.safetensors"
    yield "header of one byte", table(b"{", b""), "header"
    yield "header one byte longer than the file", table({"a": entry(0, 16)}, b"", length=64), "header"
    yield (
        "header one byte short",
        table(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}', bytes(16), length=53),
        "JSON",
    )
    yield "header length 100,000,001", table(b"{}", bytes(64), length=100_000_001), "header"
    yield "header length 2**31", table(b"{}", b"", length=1 << 31), "header"
    yield "header length 2**63 - 1", table(b"{}", b"", length=(1 << 63) - 1), "header"
    yield "header length 2**64 - 1", table(b"{}", b"", length=(1 << 64) - 1), "header"
    yield "header length big-endian", (2).to_bytes(8, "big") + b"{}", "header"
    yield "header length without the length itself", table(_OPEN + b"}", bytes(16), length=len(_OPEN) + 9), "JSON"


def _headers() -> Iterator[tuple[str, bytes, str]]:
    yield "leading space", table(b" {}"), "{"
    yield "leading newline", table(b"\n{}"), "{"
    yield "leading byte order mark", table(b"\xef\xbb\xbf{}"), "{"
    yield "UTF-16 header", table("{}".encode("utf-16-le")), "model.safetensors"
    yield "header is a list", table(b"[]"), "{"
    yield "header is a string", table(b'"a"'), "{"
    yield "header is null", table(b"null"), "{"
    yield "header is nothing but {", table(b"{       "), "JSON"
    yield "trailing comma", table(_OPEN + b",}", bytes(16)), "JSON"
    yield "two objects", table(b"{}{}"), "JSON"
    yield "object, then text", table(_OPEN + b"} x", bytes(16)), "JSON"
    yield "zero bytes as padding", table(_OPEN + b"}\0\0", bytes(16)), "JSON"
    yield "comment", table(b"{/* */}"), "JSON"
    yield "single quotes", table(b"{'a': {}}"), "JSON"
    yield "not UTF-8", table(b'{"\xff\xfe": {}}'), "JSON"
    yield "overlong UTF-8", table(b'{"\xc0\x80": {}}'), "JSON"
    yield "NaN", table(b'{"a": NaN}'), "JSON"
    yield "Infinity as an offset", table(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,Infinity]}}'), "JSON"
    yield "raw newline in a name", table(b'{"a\nb": {}}'), "JSON"
    yield "nested 100,000 lists deep", table(b'{"a":' + b"[" * 100_000), "JSON"
    yield "nested 1,000,000 objects deep", table(b'{"a":' * 1_000_000), "JSON"
    yield "nested 100,000 deep and closed", table(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "JSON"
    yield (
        "a number of 5,000 digits",
        table(b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,16]}}'),
        "model",
    )
    yield (
        "a number of a million digits",
        table(b'{"a":{"dtype":"F32","shape":[' + b"9" * 10**6 + b'],"data_offsets":[0,16]}}'),
        "model",
    )
    yield "metadata is a list", table({"__metadata__": []}), "metadata"
    yield "metadata is null", table({"__metadata__": None}), "metadata"
    yield "metadata of numbers", table({"__metadata__": {"a": 1}}), "metadata"
    yield "metadata nested", table({"__metadata__": {"a": {"b": "c"}}}), "metadata"
    yield "metadata twice", table(b'{"__metadata__":{"a":"b"},"__metadata__":{"a":"c"}}'), "twice"
    yield "metadata key twice", table(b'{"__metadata__":{"a":"b","a":"c"}}'), "twice"
    one = json.dumps(entry(0, 16)).encode()
    yield "tensor twice, alike", table(b'{"a":%s,"a":%s}' % (one, one), bytes(16)), "twice"
    yield (
        "tensor twice, end to end",
        table(b'{"a":%s,"a":%s}' % (one, json.dumps(entry(16, 32)).encode()), bytes(32)),
        "twice",
    )
    yield "tensor twice, one escaped", table(b'{"a":%s,"\\u0061":%s}' % (one, one), bytes(16)), "twice"
    yield (
        "dtype twice",
        table(b'{"a":{"dtype":"F32","dtype":"I32","shape":[4],"data_offsets":[0,16]}}', bytes(16)),
        "twice",
    )
    yield (
        "offsets twice",
        table(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16],"data_offsets":[0,16]}}', bytes(16)),
        "twice",
    )


def _entries() -> Iterator[tuple[str, bytes, str]]:
    for what, value in {"null": None, "a list": [], "a string": "x", "a number": 1, "empty": {}}.items():
        yield f"entry is {what}", table({"a": value}), "a"
    for key in ("dtype", "shape", "data_offsets"):
        yield f"no {key}", table({"a": {k: v for k, v in entry(0, 16).items() if k != key}}, bytes(16)), "a"
    yield "an extra key", table({"a": entry(0, 16, strides=[1])}, bytes(16)), "a"
    for dtype in ("F33", "f32", "FLOAT", "", None, 1, ["F32"], {}, "F32\0", "O", "__reduce__"):
        yield f"dtype {dtype!r}", table({"a": entry(0, 16, dtype=dtype)}, bytes(16)), "a"
    shapes = {
        "negative": [-4],
        "of floats": [4.0],
        "of strings": ["4"],
        "of booleans": [True, 4],
        "of null": [None],
        "nested": [[4]],
        "a number": 4,
        "a string": "4",
        "an object": {},
        "null": None,
        "-0.0": [-0.0],
        "1e0": [1e0, 4],
        "overflowing 64 bits": [1 << 62, 4, 1 << 62],
        "2**63": [1 << 63],
        "wrapping to the right size": [(1 << 62) + 1, 4],
        "too small": [3],
        "too large": [5],
        "of 100,000 ones": [1] * 100_000 + [5],
    }
    for what, shape in shapes.items():
        yield f"shape {what}", table({"a": entry(0, 16, shape)}, bytes(16)), "a"
    offsets = {
        "three": [0, 8, 16],
        "one": [16],
        "none": [],
        "strings": ["0", "16"],
        "floats": [0.0, 16.0],
        "booleans": [False, 16],
        "an object": {"0": 0, "1": 16},
        "null": None,
        "negative": [-16, 0],
        "reversed": [16, 0],
        "2**64": [0, 1 << 64],
        "beyond 64 bits": [1 << 70, (1 << 70) + 16],
        "2**63 - 16": [(1 << 63) - 16, (1 << 63)],
        "nested": [[0], [16]],
    }
    for what, pair in offsets.items():
        yield f"offsets {what}", table({"a": {**entry(0, 16), "data_offsets": pair}}, bytes(16)), "a"
    yield "half a byte of F4", table({"a": entry(0, 2, (3,), "F4")}, bytes(2)), "a"


def _layouts() -> Iterator[tuple[str, bytes, str]]:
    yield "the same bytes twice", two(entry(0, 16)), "overlap"
    yield "overlap of one byte", two(entry(15, 31)), "overlap"
    yield "one inside the other", table({"a": entry(0, 32, (8,)), "b": entry(8, 24)}, bytes(32)), "overlap"
    yield "a hole of one byte", two(entry(17, 33), 33), "hole"
    yield "a hole of a gigabyte", two(entry(1 << 30, (1 << 30) + 16)), "hole"
    yield "a hole at the start", table({"a": entry(8, 24)}, bytes(24)), "hole"
    yield "an empty tensor in a hole", table({"a": entry(0, 16), "b": entry(20, 20, (0,))}, bytes(20)), "hole"
    yield "an empty tensor past the end", table({"a": entry(0, 16), "b": entry(32, 32, (0,))}, bytes(16)), "hole"
    yield "empty tensors inside another", table({"a": entry(0, 16), "b": entry(8, 8, (0,))}, bytes(16)), "overlap"
    yield "data one byte short", two(entry(16, 32), 31), "truncated"
    yield "no data at all", two(entry(16, 32), 0), "truncated"
    yield "one byte after the data", two(entry(16, 32), 33), "follow"
    yield "a zip after the data", two(entry(16, 32), 32) + b"PK\x03\x04" + bytes(60), "follow"
    yield "data and no tensor", table({}, bytes(16)), "follow"
    yield "data and metadata only", table({"__metadata__": {"a": "b"}}, bytes(16)), "follow"
    yield "two files in one", GOOD + GOOD, "follow"
    many = {f"t{i}": entry(0, 16) for i in range(50_000)}
    yield "50,000 tensors over the same bytes", table(many, bytes(16)), "overlap"


def _texts() -> Iterator[tuple[str, bytes, str]]:
    for what, name in HOSTILE_NAMES.items():
        yield f"overlap, under a name with {what}", table({"a": entry(0, 16), name: entry(0, 16)}, bytes(16)), "overlap"
        yield f"unknown dtype, under a name with {what}", table({name: entry(0, 16, dtype=name)}, bytes(16)), "dtype"
    yield "half a surrogate pair in a name", table({"w\ud800": entry(0, 16)}, bytes(16)), "surrogate"
    yield "half a surrogate pair in the metadata", table({"__metadata__": {"a": "\ud800"}}), "surrogate"
    yield "a surrogate in a name twice", table(b'{"\\ud800":{},"\\ud800":{}}'), "twice"


HOSTILE_NAMES = {
    "escape sequences": "w\x1b[2J\x1b]0;title\x07\x1b[31m",
    "a newline": "w\nckpt: everything is fine",
    "a carriage return": "w\rok",
    "right-to-left override": "w\u202egnp.exe\u202c",
    "a zero byte": "w\0",
    "separators and a line separator": "w\u2028x\x85y",
    "a megabyte": "w" * (1 << 20),
    "markup": "[bold red]w[/] [link=file:///etc/passwd]x",
}


def _made(write: Callable[[Path], None]) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        write(folder / "model.safetensors")
        return folder / "model.safetensors"

    return build


@_made
def _sparse(place: Path) -> None:
    with open(place, "wb") as file:
        file.write((99_000_000).to_bytes(8, "little") + b'{"a":')
        file.truncate(200_000_000)


@_made
def _far_end(place: Path) -> None:
    place.write_bytes(table({"a": entry(0, 1 << 40, (1 << 38,))}, bytes(16)))


@_made
def _terabyte(place: Path) -> None:
    with open(place, "wb") as file:
        file.truncate(1 << 40)
