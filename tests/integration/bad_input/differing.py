"""Files changed in their structure, and whether the formats' own readers refuse them: torch.load and safe_open."""

import io
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from tests.integration.bad_input.safetensors_cases import entry, table
from tests.integration.bad_input.zip_bytes import Rec, zip_of

Change = tuple[str, bytes]
"""What was done, and the file that came of it."""


def saved(*, legacy: bool) -> bytes:
    """A small checkpoint as torch.save writes it: shared, strided and empty tensors of several types."""
    import torch

    weight = torch.arange(12.0).reshape(3, 4)
    state = OrderedDict(w=weight, tied=weight, column=weight[:, 1], half=torch.ones(3, dtype=torch.bfloat16))
    value = {"model": state, "empty": torch.zeros(0, 2), "scalar": torch.tensor(7), "step": 3, "names": ["a", "b"]}
    out = io.BytesIO()
    torch.save(value, out, _use_new_zipfile_serialization=not legacy)
    return out.getvalue()


def safetensors_saved() -> bytes:
    """A small file as safetensors writes it."""
    import torch
    from safetensors.torch import save

    tensors = {"a": torch.arange(4.0), "b": torch.ones(3, 5, dtype=torch.bfloat16), "c": torch.zeros(0, 2)}
    return save({**tensors, "d": torch.tensor(7)}, {"format": "pt"})


def torch_refuses(path: Path) -> str:
    """Why torch.load does not open it; "" where it does."""
    import torch

    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever it is, the file is refused
        return f"{type(error).__name__}: {str(error).rpartition('WeightsUnpickler error:')[2]}"[:300]
    return ""


def safetensors_refuses(path: Path) -> str:
    """Why safetensors does not open it, or does not give a tensor of it; "" where it does."""
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - it is no dict
                file.get_tensor(name)
    except Exception as error:  # whatever it is, the file is refused
        return f"{type(error).__name__}: {error}"[:200]
    return ""


def changed_zips(good: bytes, random: Random) -> Iterator[Change]:
    """Records dropped, renamed, doubled, swapped, cut, lengthened; every byte of the pickle; fields of the headers."""
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        records = [Rec(name, archive.read(name)) for name in archive.namelist()]
    yield from _records(records)
    for number, record in enumerate(records):
        for at in range(len(record.data)) if not record.name.endswith(("data/0", "serialization_id")) else ():
            for bit in random.sample(range(8), 2):
                data = _flipped(record.data, at, bit)
                yield f"bit {bit} of byte {at} of {record.name}", zip_of(_put(records, number, data))
    for at in range(len(good)):
        yield f"bit of byte {at} of the file", _flipped(good, at, random.randrange(8))


def _records(records: list[Rec]) -> Iterator[Change]:
    for number, record in enumerate(records):
        name, rest = record.name, [*records[:number], *records[number + 1 :]]
        root, _, tail = name.partition("/")
        yield f"{name} dropped", zip_of(rest)
        yield f"{name} doubled", zip_of([*records, record])
        yield f"{name} last", zip_of([*rest, record])
        yield f"{name} first", zip_of([record, *rest])
        for other in (
            tail,
            f"other/{tail}",
            f"{root}/x{tail}",
            f"{root}/sub/{tail}",
            f"{root}/{tail.upper()}",
            f"{name}/",
        ):
            yield f"{name} as {other}", zip_of([*records[:number], Rec(other, record.data), *records[number + 1 :]])
        half = record.data[: len(record.data) // 2]
        for what, data in (("empty", b""), ("half", half), ("longer", record.data + b"\0"), ("text", b"x")):
            yield f"{name} {what}", zip_of(_put(records, number, data))
        for other in records[:number]:
            yield f"{name} with the bytes of {other.name}", zip_of(_put(records, number, other.data))
        yield (
            f"{name} deflated",
            zip_of([*records[:number], Rec(name, record.data, deflate=True), *records[number + 1 :]]),
        )


def _put(records: list[Rec], number: int, data: bytes) -> list[Rec]:
    return [*records[:number], Rec(records[number].name, data), *records[number + 1 :]]


def changed_bytes(good: bytes, random: Random, *, structure: int) -> Iterator[Change]:
    """Two bits of each byte of the structure, then places cut off, taken out, doubled and zeroed."""
    for at in range(structure):
        for bit in random.sample(range(8), 2):
            yield f"bit {bit} of byte {at}", _flipped(good, at, bit)
    for at in random.sample(range(len(good)), min(len(good), 200)):
        length = random.choice((1, 2, 8))
        yield f"cut at byte {at}", good[:at]
        yield f"{length} bytes taken out at {at}", good[:at] + good[at + length :]
        yield f"{length} bytes doubled at {at}", good[: at + length] + good[at:]
        yield f"{length} zeros at byte {at}", good[:at] + bytes(length) + good[at + length :]


def _flipped(content: bytes, at: int, bit: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]


_TYPES = "BOOL U8 I8 I16 U16 F16 BF16 I32 U32 F32 F64 I64 U64 F8_E4M3 F8_E5M2 F4 C64 F8_E8M0 F128 float32 f32"


def changed_headers() -> Iterator[Change]:
    """Safetensors headers with every type, sizes and places beside the right ones, and other keys and values."""
    for name in (*_TYPES.split(), 7, None):
        for end in (0, 2, 4, 8, 16, 32):
            yield f"type {name} in {end} bytes", table({"a": entry(0, end, (4,), name)}, bytes(end))
    for begin, end in (
        (-1, 16),
        (0, 15),
        (0, 17),
        (16, 0),
        (1, 17),
        (4, 20),
        (0, 1 << 63),
        (0, 16.0),
        ("0", 16),
        (True, 16),
    ):
        yield f"places {begin!r} to {end!r}", table({"a": entry(begin, end)}, bytes(16))
    for shape in (
        (),
        (4, 1),
        (-4,),
        (2, -2),
        (1 << 62, 4),
        (4.0,),
        ("4",),
        None,
        4,
        (True, 4),
        (0,),
        (5,),
        (2, 2),
        {},
        "4",
    ):
        yield f"shape {shape!r}", table({"a": entry(0, 16, shape)}, bytes(16))
    good: dict[str, Any] = entry(0, 16)
    for key in good:
        yield f"without {key}", table({"a": {name: good[name] for name in good if name != key}}, bytes(16))
    for value in ({}, [], None, 7, "x", {**good, "more": 1}, [good]):
        yield f"an entry {value!r}", table({"a": value}, bytes(16))
    for value in ({}, [], None, 7, {"a": 1}, {"a": None}, {"a": "b"}, {"a": ["b"]}, {"": ""}):
        yield f"metadata {value!r}", table({"a": good, "__metadata__": value}, bytes(16))
    for text in (
        b"{}",
        b"[]",
        b"null",
        b" {}",
        b"{} ",
        b"{}\0",
        b"\xef\xbb\xbf{}",
        b"{}{}",
        b'{"a":NaN}',
        b"{,}",
        b"{'a':1}",
    ):
        for rest in (b"", bytes(8)):
            yield f"header {text!r}, then {len(rest)} bytes", table(text, rest)
    for behind in (1, 8):
        yield f"{behind} bytes behind the last", table({"a": good}, bytes(16 + behind))
    for name in ("\ud800", "\udfff\ud800", "a\0", "", "__metadata__ ", "é", "\U0001f600"):
        yield f"name {name!r}", table({name: good}, bytes(16))
    yield "a gap", table({"a": entry(0, 16), "b": entry(20, 36)}, bytes(36))
    yield "an overlap", table({"a": entry(0, 16), "b": entry(8, 24)}, bytes(24))
    yield "the same place twice", table({"a": entry(0, 16), "b": entry(0, 16)}, bytes(16))
    yield "a key twice", table(b'{"a":{"dtype":"F32","dtype":"F32","shape":[4],"data_offsets":[0,16]}}', bytes(16))
    yield (
        "a tensor twice",
        table(
            b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}',
            bytes(16),
        ),
    )
