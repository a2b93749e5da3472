"""Controls: whole files that a reader which refuses too much would refuse."""

import argparse
import collections
import io
import json
import os
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.integration.bad_input import legacy_cases, safetensors_cases, zip_cases
from tests.integration.bad_input.cases import Case, file_case
from tests.integration.bad_input.pickle_bytes import Raw, call, glob, pickled, push, storage, tensor
from tests.integration.bad_input.safetensors_cases import HOSTILE_NAMES, entry, table
from tests.integration.bad_input.zip_bytes import Rec, zip_of


def cases() -> Iterator[Case]:
    for name, content in _safetensors():
        yield file_case(f"benign: safetensors: {name}", content, file="model.safetensors")
    for name, make in _SAVED.items():
        yield file_case(f"benign: torch: {name}", _saved(make), file="model.pth")
        if name not in _ZIP_ONLY:
            yield file_case(f"benign: legacy: {name}", _saved(make, legacy=True), file="model.pt")
    for name, content in _zips():
        yield file_case(f"benign: zip: {name}", content, file="model.pth")
    for protocol in (3, 4, 5):
        yield file_case(
            f"benign: torch: pickle protocol {protocol}", _saved(_state_dict, protocol=protocol), file="m.pth"
        )
    yield file_case("benign: torch: without checksums", _without_sums, file="model.pth")
    for name, build in _PLACES.items():
        yield Case(f"benign: place: {name}", build)


def _safetensors() -> Iterator[tuple[str, bytes]]:
    yield "two tensors", safetensors_cases.GOOD
    yield "spaces after the header", table(json.dumps({"a": entry(0, 16)}).encode() + b"     ", bytes(16))
    yield "a header with spaces and newlines", table(json.dumps({"a": entry(0, 16)}, indent=2).encode(), bytes(16))
    yield "the last tensor first", table({"z": entry(16, 32), "a": entry(0, 16)}, bytes(32))
    yield "empty tensors", table({"a": entry(0, 16), "e": entry(16, 16, (0,)), "f": entry(0, 0, (3, 0))}, bytes(16))
    yield "a scalar", table({"a": entry(0, 4, ())}, bytes(4))
    yield "empty metadata", table({"__metadata__": {}, "a": entry(0, 16)}, bytes(16))
    yield "a megabyte of metadata", table({"__metadata__": {"x": "y" * (1 << 20)}, "a": entry(0, 16)}, bytes(16))
    yield (
        "metadata that is JSON in text",
        table({"__metadata__": {"c": '{"a": [1, {"b": null}]}'}, "a": entry(0, 16)}, bytes(16)),
    )
    yield "a tensor that begins like a zip", table({"a": entry(0, 16)}, b"PK\x03\x04" + bytes(12))
    yield "64 dimensions of one", table({"a": entry(0, 4, (1,) * 64)}, bytes(4))
    for dtype, width in (
        ("BOOL", 1),
        ("U8", 1),
        ("F8_E4M3", 1),
        ("F8_E5M2", 1),
        ("BF16", 2),
        ("F16", 2),
        ("I64", 8),
        ("F64", 8),
        ("C64", 8),
    ):
        yield f"dtype {dtype}", table({"a": entry(0, 4 * width, dtype=dtype)}, bytes(4 * width))
    yield (
        "10,000 tensors",
        table({f"layers.{i}.w": entry(4 * i, 4 * i + 4, (1,)) for i in range(10_000)}, bytes(40_000)),
    )
    for what, name in HOSTILE_NAMES.items():
        yield f"a name with {what}", table({name: entry(0, 16)}, bytes(16))
    for name in (
        "",
        ".",
        "..",
        "../evil",
        "/etc/passwd",
        "a/b",
        "a b",
        "__proto__",
        "__class__",
        "constructor",
        "0",
        "-1",
        "Ω",
        "💥",
    ):
        yield f"a tensor named {name!r}", table({name: entry(0, 16)}, bytes(16))


def _state_dict() -> Any:
    import torch

    return collections.OrderedDict(a=torch.arange(4.0), b=torch.ones(3, 5))


def _trainer() -> Any:
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.randn(3, 4)).sum().backward()
    optimizer.step()
    rng = {"torch": torch.get_rng_state(), "python": random.getstate()}
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "loss": 0.25, "rng": rng}


def _views() -> Any:
    import torch

    base = torch.arange(64.0).reshape(8, 8)
    return {
        "base": base,
        "t": base.T,
        "column": base[:, 3],
        "row": base[2],
        "step": base[::2, ::3],
        "expanded": torch.ones(1).expand(5, 7),
    }


def _every_dtype() -> Any:
    import torch

    names = "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64 complex64 complex128"
    names += " float8_e4m3fn float8_e5m2"
    return {name: torch.zeros(4, dtype=torch.uint8).to(getattr(torch, name)) for name in names.split()}


def _tied() -> Any:
    import torch

    weight = torch.nn.Parameter(torch.ones(3, 3))
    return {"embed": weight, "head": weight, "buffer": torch.nn.Buffer(torch.ones(2))}


def _plain() -> Any:
    import torch

    return {
        "n": None,
        "t": True,
        "i": 1 << 100,
        "f": [0.5, float("inf"), float("nan")],
        "s": "ü\ud800",
        "b": b"\0\xff",
        "set": {1, 2},
        "d": {1: "a", None: 2},
        "tuple": (1, (2, (3,))),
        "frozen": frozenset([1]),
        "slice": slice(1, 2),
        "range": range(3),
        "complex": 1j,
        "size": torch.Size([1, 2]),
        "dtype": torch.bfloat16,
        "device": torch.device("cpu"),
        "deque": collections.deque([1]),
        "default": collections.defaultdict(list, {"a": [1]}),
        "counter": collections.Counter("aab"),
        "args": argparse.Namespace(lr=0.1),
        "path": Path("/tmp/x"),
        "a": torch.ones(2),
    }


def _arrays() -> Any:
    import numpy as np
    import torch

    return {
        "a": np.arange(6.0).reshape(2, 3),
        "f": np.asfortranarray(np.ones((2, 3))),
        "x": np.float64(1.5),
        "w": torch.ones(1),
    }


def _module() -> Any:
    import torch

    return torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())


def _odd_tensors() -> Any:
    import torch

    sparse = torch.sparse_coo_tensor([[0, 1], [1, 0]], [1.0, 2.0], (2, 2))
    return {
        "sparse": sparse,
        "meta": torch.empty(3, device="meta"),
        "conj": torch.ones(2, dtype=torch.complex64).conj(),
        "a": torch.ones(1),
    }


def _many() -> Any:
    import torch

    return {f"layers.{index}.weight": torch.full((4,), float(index)) for index in range(3000)}


def _nested() -> Any:
    import torch

    value: Any = torch.ones(2)
    for level in range(60):
        value = {f"level{level}": value, "list": [value]} if level < 8 else [value]
    return value


def _hostile_names() -> Any:
    import torch

    return {name: torch.ones(1) for what, name in HOSTILE_NAMES.items() if what != "a megabyte"}


def _scalar() -> Any:
    import torch

    return {"scalar": torch.tensor(1.5), "empty": torch.empty(0), "flat": torch.empty(3, 0, 2)}


def _alone() -> Any:
    import torch

    return torch.ones(3)


def _listed() -> Any:
    import torch

    return [torch.ones(2), (torch.zeros(1), {"x": torch.ones(1)})]


_SAVED: dict[str, Callable[[], Any]] = {
    "a state dict": _state_dict,
    "a trainer's state": _trainer,
    "views": _views,
    "every dtype": _every_dtype,
    "tied weights": _tied,
    "plain Python values": _plain,
    "numpy arrays": _arrays,
    "a module": _module,
    "sparse, meta and conjugated tensors": _odd_tensors,
    "3,000 tensors": _many,
    "nested": _nested,
    "hostile names": _hostile_names,
    "scalars and empty tensors": _scalar,
    "one tensor": _alone,
    "a list": _listed,
}
_ZIP_ONLY = {"every dtype"}


def _saved(make: Callable[[], Any], *, legacy: bool = False, protocol: int = 2) -> Callable[[], bytes]:
    def content() -> bytes:
        import torch

        torch.manual_seed(0)
        out = io.BytesIO()
        torch.save(make(), out, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
        return out.getvalue()

    return content


def _without_sums() -> bytes:
    import torch

    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        return _saved(_state_dict)()
    finally:
        torch.serialization.set_crc32_options(before)


def _zips() -> Iterator[tuple[str, bytes]]:
    yield "made by hand", zip_cases.GOOD
    yield "with a 64-bit end", zip_cases.WIDE
    yield "with no byte order", zip_of([record for record in zip_cases.PLAIN if "byteorder" not in record.name])
    yield "with a deflated pickle", zip_cases.changed("data.pkl", deflate=True)
    yield (
        "with records that nobody asks for",
        zip_cases.plus(Rec("archive/.data/serialization_id", b"1" * 40), Rec("archive/extra/x", b"y")),
    )
    yield "with an odd root", zip_of([Rec(f"my model (1){r.name[7:]}", r.data) for r in zip_cases.PLAIN])
    yield "big-endian", zip_cases.changed("byteorder", data=b"big")
    yield "written by zipfile", _by_zipfile(zipfile.ZIP_STORED)
    yield "written by zipfile to a stream", _by_zipfile(zipfile.ZIP_STORED, stream=True)
    unknown = {"a": tensor(), "x": Raw(call(glob("mycompany.models.Net"), 1, "x") + push({"depth": 3}) + b"b")}
    cyclic = b"\x80\x02" + glob("a.B") + b")\x81q\x00}K\x01h\x00sb."  # as a schedule and its optimizer know each other
    yield "with an object that holds itself", zip_cases.with_pickle(cyclic)
    yield "with a class that nobody knows", zip_cases.with_pickle(pickled(unknown))
    yield (
        "with a storage that no tensor views",
        zip_cases.with_pickle(pickled({"a": storage(), "b": tensor(storage("1", 15))})),
    )
    yield "with a small broadcast", zip_cases.with_pickle(pickled({"a": tensor(None, 0, (1000,), (0,))}))
    yield "with overlapping windows", zip_cases.with_pickle(pickled({"a": tensor(None, 0, (2, 3), (1, 1))}))


class _Stream(io.BytesIO):
    def seekable(self) -> bool:
        return False

    def seek(self, *_: Any) -> int:
        raise io.UnsupportedOperation

    def tell(self) -> int:
        raise io.UnsupportedOperation


def _by_zipfile(method: int, *, stream: bool = False) -> bytes:
    out = _Stream() if stream else io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for record in zip_cases.PLAIN:
            archive.writestr(record.name, record.data)
    return out.getvalue()


def _in(name: str, content: bytes = safetensors_cases.GOOD) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return build


def _alone_in_directory(content: bytes, name: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder

    return build


def _behind_link(folder: Path) -> Path:
    (folder / "blob").write_bytes(safetensors_cases.GOOD)
    (folder / "latest.safetensors").symlink_to("blob")
    return folder / "latest.safetensors"


def _in_cache(folder: Path) -> Path:
    snapshot = folder / "models--org--name" / "snapshots" / "abc"
    blobs = folder / "models--org--name" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "0123").write_bytes(safetensors_cases.GOOD)
    (snapshot / "model.safetensors").symlink_to("../../blobs/0123")
    return snapshot / "model.safetensors"


def _member_of_directory(folder: Path) -> Path:
    (folder / "a.pth").write_bytes(zip_cases.GOOD)
    (folder / "b.safetensors").write_bytes(safetensors_cases.GOOD)
    return Path(f"{folder}#b.safetensors")


def _name_of_bytes(folder: Path) -> Path:
    place = os.fsencode(folder) + b"/\xff\xfe.safetensors"
    with open(place, "wb") as file:
        file.write(safetensors_cases.GOOD)
    return Path(os.fsdecode(place))


_PLACES: dict[str, Callable[[Path], Path]] = {
    "safetensors without a suffix": _in("weights"),
    "safetensors named .bin": _in("model.bin"),
    "torch named .safetensors": _in("model.safetensors", zip_cases.GOOD),
    "legacy named .bin": _in("pytorch_model.bin", legacy_cases.GOOD),
    "a name that is written from right to left": _in("w\u202estn.safetensors"),
    "a member of a directory": _member_of_directory,
    "a name with a #": _in("model#step-5.safetensors"),
    "a name with spaces": _in("my model (1).safetensors"),
    "a name that begins with -": _in("-rf.safetensors"),
    "a name of 255 bytes": _in("m" * 243 + ".safetensors"),
    "a name that is not text": _name_of_bytes,
    "behind a link": _behind_link,
    "in a cache of links": _in_cache,
    "alone in a directory": _alone_in_directory(safetensors_cases.GOOD, "model.safetensors"),
}
