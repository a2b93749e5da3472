"""Files and directories that have a checkpoint's name and are something else, and places that are not files at all."""

import base64
import gzip
import io
import json
import os
import pickle
import random
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.integration.bad_input import legacy_cases, safetensors_cases, zip_cases
from tests.integration.bad_input.cases import Case, file_case
from tests.integration.bad_input.pickle_bytes import call, glob, pickled

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 440473133\n"
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF\n"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\0IEND\xaeB`\x82"
NAMES = ("model.safetensors", "model.pth", "model.bin", "model")

CONTENTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "a git-lfs pointer": (LFS, "lfs"),
    "a web page": (b"<!DOCTYPE html>\n<html><head><title>404</title></head></html>", "web page"),
    "a web page behind spaces": (b"\n\n   <HTML><body>Sign in</body></HTML>", "web page"),
    "an XML error of a store": (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>', "web page"),
    "a JSON error": (b'{"error": "Repository not found"}', ""),
    "zeros": (bytes(4096), "zero"),
    "a megabyte of zeros": (bytes(1 << 20), "zero"),
    "one zero": (b"\0", "zero"),
    "text": (b"this is not a checkpoint\n" * 40, ""),
    "gzip of a good file": (gzip.compress(safetensors_cases.GOOD, mtime=0), ""),
    "gzip of a torch file": (gzip.compress(zip_cases.GOOD, mtime=0), ""),
    "PDF": (PDF, ""),
    "PNG": (PNG, ""),
    "ELF": (b"\x7fELF\x02\x01\x01" + bytes(57), ""),
    "npy": (
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }".ljust(128) + bytes(16),
        "",
    ),
    "GGUF": (b"GGUF\x03\0\0\0" + bytes(64), ""),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(64), ""),
    "ONNX": (b"\x08\x08\x12\x07pytorch\x1a\x052.0.0:\x10" + bytes(64), ""),
    "flatbuffers (tflite)": (b"\x1c\0\0\0TFL3" + bytes(64), ""),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(64), ""),
    "xz": (b"\xfd7zXZ\0" + bytes(64), ""),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(64), ""),
    "an empty zip": (b"PK\x05\x06" + bytes(18), ""),
    "a part of a split zip": (b"PK\x07\x08" + zip_cases.GOOD, ""),
    "a pickle of scikit-learn": (pickle.dumps({"coef_": [1.0], "intercept_": 0.5}, 4), ""),
}


def cases() -> Iterator[Case]:
    for what, (content, says) in CONTENTS.items():
        for file in NAMES:
            yield file_case(f"lookalike: {what} as {file}", content, (4, 6), says, file=file)
    for size in (1, 7, 8, 9, 16, 64, 512, 4096, 1 << 20):
        noise = random.Random(size).randbytes(size)
        for file in NAMES[:3]:
            yield file_case(f"lookalike: {size} random bytes as {file}", noise, (4, 6), file=file)
    for kind, content in _pickles().items():
        yield file_case(f"lookalike: {kind}", content, (4, 6, 7), file="model.pkl")
    for kind, content in _tars().items():
        yield file_case(f"lookalike: {kind}", content, (4, 6), file="model.pth.tar")
    for kind, content in _swapped().items():
        yield file_case(f"lookalike: {kind}", content, (4, 6), file=kind.partition(" ")[0])
    for name, build, exits, says in _PLACES:
        yield Case(f"place: {name}", build, frozenset(exits), says)


def _pickles() -> dict[str, Callable[[Path], bytes]]:
    def of_system(protocol: int) -> Callable[[Path], bytes]:
        return lambda marker: pickled(call(glob("os.system"), f"touch {marker}"), protocol)

    return {
        **{f"a bare pickle that runs code, protocol {p}": of_system(p) for p in (2, 3, 4, 5)},
        "a bare pickle of text opcodes that runs code": lambda marker: f"cos\nsystem\n(S'touch {marker}'\ntR.".encode(),
        "a joblib file that runs code": lambda marker: (
            pickled([1, call(glob("os.system"), f"touch {marker}")], 3) + bytes(64)
        ),
        "a pickle that looks like legacy and runs code": lambda marker: (
            pickled(legacy_cases.MAGIC) + pickled(call(glob("os.system"), f"touch {marker}"))
        ),
    }


def _tars() -> dict[str, bytes]:
    old = _tar({"sys_info": b"x", "pickle": b"x", "tensors": b"x", "storages": b"x"})
    slip = _tar({"../../evil": b"x", "/etc/evil": b"x"})
    links = io.BytesIO()
    with tarfile.open(fileobj=links, mode="w") as tar:
        for name, target in {"pickle": "/etc/passwd", "storages": "/dev/zero"}.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
        device = tarfile.TarInfo("sys_info")
        device.type = tarfile.CHRTYPE
        tar.addfile(device)
    nemo = _tar({"model_weights.ckpt": zip_cases.GOOD, "model_config.yaml": b"x: 1"})
    return {
        "torch's oldest tar": old,
        "a tar with names that leave it": slip,
        "a tar of links and devices": links.getvalue(),
        "a tar around a torch file": nemo,
        "an empty tar": bytes(10240),
        "half a tar": old[:700],
    }


def _tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _swapped() -> dict[str, bytes]:
    good = safetensors_cases.GOOD
    return {
        "model.safetensors with a byte before it": b"\0" + good,
        "model.safetensors in UTF-16": good.decode("latin1").encode("utf-16"),
        "model.safetensors with newlines translated": good.replace(b"\n", b"\r\n"),
        "model.safetensors encoded in base64": base64.b64encode(good),
        "model.pth with a byte before it": b"\0" + zip_cases.GOOD,
        "model.pth encoded in base64": base64.b64encode(zip_cases.GOOD),
        "model.pth read as text": zip_cases.GOOD.decode("utf-8", "replace").encode(),
        "model.pt read as text": legacy_cases.GOOD.decode("utf-8", "replace").encode(),
    }


def _fifo(folder: Path) -> Path:
    os.mkfifo(folder / "model.pth")
    return folder / "model.pth"


def _fifo_in_directory(folder: Path) -> Path:
    os.mkfifo(folder / "model.safetensors")
    return folder


def _link(target: str, name: str = "model.pth") -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        (folder / name).symlink_to(target)
        return folder / name

    return build


def _link_in_directory(target: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        _link(target)(folder)
        return folder

    return build


def _loop(folder: Path) -> Path:
    (folder / "a.pth").symlink_to("b.pth")
    (folder / "b.pth").symlink_to("a.pth")
    return folder / "a.pth"


def _loop_of_directories(folder: Path) -> Path:
    (folder / "again").symlink_to(folder)
    return folder


def _empty(folder: Path) -> Path:
    return folder


def _directory_named_as_file(folder: Path) -> Path:
    (folder / "model.pth").mkdir()
    return folder / "model.pth"


def _directory_of(files: dict[str, bytes]) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder

    return build


def _deep(folder: Path) -> Path:
    place = folder
    for _ in range(200):
        place = place / "d"
        place.mkdir()
    return folder


def _nothing(folder: Path) -> Path:
    return folder / "not-there.pth"


def _odd_name(folder: Path) -> Path:
    place = folder / "w\x1b[2J\nckpt: ok\u202e.safetensors"
    place.write_bytes(b"junk")
    return place


def _good_under_odd_name(folder: Path) -> Path:
    place = folder / "w\x1b[2J\nckpt: ok.safetensors"
    place.write_bytes(safetensors_cases.GOOD)
    return place


def _member(name: str, content: bytes, asked: str = "") -> Callable[[Path], Path]:
    """One checkpoint of a directory, as `directory#member`."""

    def build(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return Path(f"{folder}#{asked or name}")

    return build


def _bytes_name(folder: Path) -> Path:
    place = os.fsencode(folder) + b"/\xff\xfe.safetensors"
    with open(place, "wb") as file:
        file.write(b"junk")
    return Path(os.fsdecode(place))


_PLACES: tuple[tuple[str, Callable[[Path], Path], tuple[int, ...], str], ...] = (
    ("a pipe", _fifo, (4,), "regular"),
    ("a directory with a pipe in it", _fifo_in_directory, (4, 6), ""),
    ("a link to /dev/zero", _link("/dev/zero"), (4,), "regular"),
    ("a link to /dev/null", _link("/dev/null"), (4,), "regular"),
    ("a link to nothing", _link("nowhere"), (3,), "no such"),
    ("a link to itself", _link("model.pth"), (3, 4, 5), ""),
    ("two links in a loop", _loop, (3, 4, 5), ""),
    ("a directory that links to itself", _loop_of_directories, (4, 6), ""),
    ("a directory with a link to /dev/zero", _link_in_directory("/dev/zero"), (4, 6), ""),
    ("a directory with a link to /etc/passwd", _link_in_directory("/etc/passwd"), (4, 6), ""),
    ("a directory with a link to nothing", _link_in_directory("nowhere"), (4, 6), ""),
    ("an empty directory", _empty, (4,), "no file"),
    ("a directory named model.pth", _directory_named_as_file, (4,), "no file"),
    ("a directory of text files", _directory_of({"README.md": b"# hi", "a/b.txt": b"x"}), (6,), "recognises"),
    ("a directory with an empty safetensors file", _directory_of({"model.safetensors": b""}), (4,), "empty"),
    ("a directory of one broken file", _directory_of({"m.pth": zip_cases.GOOD[:-1]}), (4,), "m.pth"),
    (
        "a broken safetensors file of a directory",
        _member("m.safetensors", safetensors_cases.GOOD[:-1]),
        (4,),
        "m.safetensors",
    ),
    ("a broken torch file of a directory", _member("m.pth", zip_cases.GOOD[:-1]), (4,), "m.pth"),
    ("a member that is not there", _member("m.pth", zip_cases.GOOD, "other.pth"), (2,), "m.pth"),
    ("a member above the directory", _member("m.pth", zip_cases.GOOD, "..%2fm.pth"), (2,), "m.pth"),
    ("a directory of lfs pointers", _directory_of({"model.safetensors": LFS, "config.json": b"{}"}), (4,), "lfs"),
    ("a directory with junk JSON", _directory_of({"config.json": json.dumps([1]).encode()}), (4, 6), ""),
    ("200 directories in each other", _deep, (4, 6), ""),
    ("nothing there", _nothing, (3,), "no such"),
    ("a name with escape sequences and a newline", _odd_name, (2,), "control"),
    ("a good file under a name with escape sequences", _good_under_odd_name, (2,), "control"),
    ("a name that is not text", _bytes_name, (4,), "safetensors"),
)
