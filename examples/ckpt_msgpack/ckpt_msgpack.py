"""The `msgpack` format: a tree of parameters in one file, as flax.serialization.to_bytes writes it.

Sources: flax, `flax/serialization.py` (extension 1 is an array, 3 a scalar of numpy: shape, name of the type, bytes);
the specification of MessagePack.
"""

import struct
from collections.abc import Iterator
from math import prod
from typing import Any

import ckpt_core as ck
from ckpt_core import codecs, layouts

TYPES = {"bool": "BOOL", "bfloat16": "BF16", "complex64": "C64", "complex128": "C128"}
TYPES |= {f"float{bits}": f"F{bits}" for bits in (16, 32, 64)}
TYPES |= {f"{kind}{bits}": f"{kind[0].upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)}
NAMES = {dtype: name for name, dtype in TYPES.items()}
ARRAY, SCALAR = 1, 3
WINDOW, MOST_DEPTH = 4096, 100
MOST_BYTES = 1 << 30  # flax cuts a larger array into pieces


@ck.hookimpl
def formats() -> tuple[ck.Format, ...]:
    return (ck.Format("msgpack", "parameters in one file, as flax writes them", writes=ck.LocationKind.FILE),)


@ck.hookimpl
def detect_format(files: ck.Files) -> Iterator[ck.FormatMatch]:
    for root, path, head in layouts.candidates(files, (".msgpack",)):
        if path.endswith(".msgpack") and head and (head[0] in (0xDE, 0xDF) or 0x80 <= head[0] <= 0x8F):
            yield ck.FormatMatch("msgpack", ck.Confidence.LIKELY, "a map in a file whose name ends in .msgpack", root)


@ck.hookimpl
def load(files: ck.Files, match: ck.FormatMatch, request: ck.LoadRequest) -> ck.StoredCheckpoint:
    reader = Reader(files, layouts.only_path(files))
    try:
        state = reader.value(())
    except (LookupError, ValueError, TypeError, struct.error) as error:
        where = f"{ck.printable(reader.path)}: byte {reader.at}"
        raise ck.CorruptError(f"{where}: no tree of flax ({error}); get it again", path=reader.path) from error
    if reader.at != files.size(reader.path):
        raise ck.CorruptError(f"{ck.printable(reader.path)}: bytes follow its end; get it again", path=reader.path)
    plain = state if reader.has_plain else None
    component = ck.Component("model", ck.TensorTable.of(reader.tensors), plain)
    return ck.StoredCheckpoint(files, match, ck.Manifest((component,)))


class Reader:
    """Walks over a file once, in small reads; the bytes of arrays are passed over."""

    def __init__(self, files: ck.Files, path: str) -> None:
        self.files, self.path, self.at = files, path, 0
        self.tensors: dict[str, ck.TensorEntry] = {}
        self.has_plain = False
        self._start, self._window = 0, b""

    def take(self, length: int) -> bytes:
        if length > self.files.size(self.path) - self.at:
            raise ValueError("it ends early")
        if not self._start <= self.at <= self.at + length <= self._start + len(self._window):
            most = min(max(length, WINDOW), self.files.size(self.path) - self.at)
            self._start, self._window = self.at, self.files.read(self.path, self.at, most)
        begin = self.at - self._start
        self.at += length
        return self._window[begin : begin + length]

    def number(self, code: str) -> Any:
        return struct.unpack(f">{code}", self.take(struct.calcsize(code)))[0]

    def value(self, names: tuple[str, ...]) -> Any:
        """The next value: a map of names, an array, which becomes a tensor of that name, or plain data."""
        tag = self.number("B")
        if 0x80 <= tag <= 0x8F or tag in (0xDE, 0xDF):
            return self.map(tag & 15 if tag < 0x90 else self.number("HI"[tag - 0xDE]), names)
        if 0xC7 <= tag <= 0xC9 or 0xD4 <= tag <= 0xD8:
            size = 1 << (tag - 0xD4) if tag >= 0xD4 else self.number("BHI"[tag - 0xC7])
            return self.array(size, "/".join(names))
        self.has_plain = True
        return self.plain(tag)

    def map(self, count: int, names: tuple[str, ...]) -> dict[str, Any]:
        if len(names) > MOST_DEPTH:
            raise ValueError("maps in maps without end")
        found: dict[str, Any] = {}
        for _ in range(count):
            key = self.plain(self.number("B"))
            if not isinstance(key, str) or key in found or not key or "/" in key:
                raise ValueError(f"{ck.printable(repr(key))} is no key that can be told from others")
            if key == "__msgpack_chunked_array__":
                where = f"{ck.printable(self.path)}: {ck.printable('/'.join(names))}"
                raise ck.UnsupportedFormatError(f"{where}: an array of more than 1 GiB is cut; save it as safetensors")
            found[key] = self.value((*names, key))
        return found

    def array(self, size: int, name: str) -> ck.State:
        code, end = self.number("b"), self.at + size
        if code not in (ARRAY, SCALAR) or self.number("B") != 0x93:
            raise ValueError(f"extension {code} is no array")
        count = self.number("B")
        shape = tuple(self.plain(self.number("B")) for _ in range(count - 0x90 if count <= 0x9F else self.number("H")))
        dtype = ck.DType[TYPES[self.plain(self.number("B"))]]
        if not 0x90 <= count <= 0xDC or not all(type(length) is int and length >= 0 for length in shape):
            raise ValueError("no shape")
        length = self.number("BHI"[self.number("B") - 0xC4])
        if self.at + length != end or dtype.nbytes(prod(shape)) != length or end > self.files.size(self.path):
            raise ValueError(f"{ck.printable(name)} has another number of bytes than its shape needs")
        chunk = ck.Chunk((0,) * len(shape), shape, ck.ByteRange(self.path, self.at, length))
        self.tensors[name] = ck.TensorEntry(dtype, shape, (chunk,))
        self.at = end
        return ck.TensorRef(name)

    def plain(self, tag: int) -> Any:
        if tag <= 0x7F or tag >= 0xE0:
            return tag if tag <= 0x7F else tag - 256
        if 0xA0 <= tag <= 0xBF or 0xD9 <= tag <= 0xDB:
            return self.take(tag - 0xA0 if tag <= 0xBF else self.number("BHI"[tag - 0xD9])).decode()
        if 0xC4 <= tag <= 0xC6:
            return self.take(self.number("BHI"[tag - 0xC4]))
        if tag in (0xC0, 0xC2, 0xC3):
            return {0xC0: None, 0xC2: False, 0xC3: True}[tag]
        if 0xCA <= tag <= 0xD3:
            return self.number("fdBHIQbhiq"[tag - 0xCA])
        raise ValueError(f"tag {tag:#x} is not of a tree of parameters")


@ck.hookimpl
def save(checkpoint: ck.Checkpoint, target: ck.Target) -> ck.Manifest:
    component = codecs.only_tensors(checkpoint, "msgpack")
    tree: dict[str, Any] = {}
    for name, info in component.tensors.infos():
        place(tree, name, info)
    plan = ck.FilePlan(target.name, tuple(sections(component.label, "", tree)))
    return target.write(ck.WritePlan((plan,)), checkpoint)


def place(tree: Any, name: str, info: ck.TensorInfo) -> None:
    """Put a tensor into the maps that its name leads to."""
    *folders, last = name.split("/")
    if info.dtype.code not in NAMES or info.nbytes > MOST_BYTES:
        raise ck.UnsupportedFormatError(f"{ck.printable(name)}: flax has no array of {info.dtype.code} in one piece")
    for folder in folders:
        tree = tree.setdefault(folder, {}) if isinstance(tree, dict) else tree
    if not isinstance(tree, dict) or last in tree or not all((*folders, last)):
        raise ck.UnsupportedFormatError(f"{ck.printable(name)}: a tree cannot hold this name beside the others")
    tree[last] = info


def sections(component: str, name: str, node: Any) -> Iterator[ck.Literal | ck.TensorBytes]:
    """What stands in the file for a map, and for each tensor in it."""
    if isinstance(node, dict):
        yield ck.Literal(sized(len(node), 0x80, 16, (None, 0xDE, 0xDF)))
        for key, value in node.items():
            yield ck.Literal(text(key))
            yield from sections(component, f"{name}/{key}" if name else key, value)
        return
    head = b"\x93" + sized(len(node.shape), 0x90, 16, (None, 0xDC, 0xDD))
    head += b"".join(b"\xcf" + struct.pack(">Q", size) for size in node.shape) + text(NAMES[node.dtype.code])
    head += sized(node.nbytes, 0, 0, (0xC4, 0xC5, 0xC6))
    extension = sized(len(head) + node.nbytes, 0, 0, (0xC7, 0xC8, 0xC9)) + struct.pack("b", ARRAY)
    yield ck.Literal(extension + head)
    yield ck.TensorBytes(component, name, node.nbytes)


def text(value: str) -> bytes:
    return sized(len(value.encode()), 0xA0, 32, (0xD9, 0xDA, 0xDB)) + value.encode()


def sized(length: int, small: int, below: int, tags: tuple[int | None, ...]) -> bytes:
    """A length as MessagePack writes it: in the tag itself, or in one, two or four bytes behind it."""
    if length < below:
        return bytes([small | length])
    for tag, code, most in zip(tags, "BHI", (0xFF, 0xFFFF, 0xFFFF_FFFF), strict=True):
        if tag is not None and length <= most:
            return bytes([tag]) + struct.pack(f">{code}", length)
    raise ck.UnsupportedFormatError(f"{length} bytes or names in one piece are more than msgpack can hold")
