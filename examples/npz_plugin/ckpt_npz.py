"""The `npz` format: arrays that numpy.savez wrote, a zip archive with one .npy record an array.

Source: numpy, `numpy/lib/format.py` (the head of an array) and `numpy/lib/_npyio_impl.py` (the archive).
"""

import ast
from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import prod
from operator import mul

import ckpt_core as ck
from ckpt_core import codecs, layouts

KINDS = {"b1": "BOOL", "f2": "F16", "f4": "F32", "f8": "F64", "c8": "C64", "c16": "C128"}
KINDS |= {f"{kind}{n}": f"{kind.upper()}{8 * n}" for kind in "iu" for n in (1, 2, 4, 8)}
NUMPY = {dtype: kind for kind, dtype in KINDS.items()}
HEAD = 4096  # bytes of a record that are read for its head


@ck.hookimpl
def formats() -> tuple[ck.Format, ...]:
    return (ck.Format("npz", "an archive of arrays, as numpy.savez writes it", writes=ck.LocationKind.FILE),)


@ck.hookimpl
def detect_format(files: ck.Files) -> Iterator[ck.FormatMatch]:
    for root, path, head in layouts.candidates(files, (".npz",)):
        if head[:4] in (b"PK\x03\x04", b"PK\x05\x06") and path.endswith(".npz"):
            yield ck.FormatMatch("npz", ck.Confidence.LIKELY, "a zip archive whose name ends in .npz", root)


@ck.hookimpl
def load(files: ck.Files, match: ck.FormatMatch, request: ck.LoadRequest) -> ck.StoredCheckpoint:
    path = layouts.only_path(files)
    members = [*codecs.read_archive(files, path).values()]
    heads = files.read_many([ck.ByteRange(path, one.data_offset, min(one.stored_size, HEAD)) for one in members])
    arrays = {one.name.removesuffix(".npy"): entry(path, one, head) for one, head in zip(members, heads, strict=True)}
    manifest = ck.Manifest((ck.Component("model", ck.TensorTable.of(arrays)),))
    checkpoint = ck.StoredCheckpoint(
        files, match, manifest, confirm=lambda: codecs.check_local_headers(files, path, members)
    )
    checkpoint.checksums = lambda: codecs.checksums_of(path, members, stored_in=held_by)
    return checkpoint


def held_by(member: codecs.Member) -> Sequence[str]:
    return [member.name.removesuffix(".npy")]


def entry(path: str, member: codecs.Member, head: bytes) -> ck.TensorEntry:
    where = f"{ck.printable(path)}: {ck.printable(member.name)}"
    if member.deflated:
        raise ck.UnsupportedFormatError(
            f"{where} is compressed; write it with numpy.savez in place of savez_compressed"
        )
    try:
        dtype, shape, order, column_major, start = read_head(head)
    except (SyntaxError, ValueError, LookupError, TypeError, MemoryError, RecursionError) as error:
        raise ck.CorruptError(f"{where}: no head of a numeric array; save it again", path=path) from error
    if start + dtype.nbytes(prod(shape)) != member.size:
        raise ck.CorruptError(f"{where}: its shape needs another number of bytes; get it again", path=path)
    strides = tuple(accumulate((1, *shape[:-1]), mul)) if column_major and shape else None
    stored = ck.ByteRange(path, member.data_offset + start, dtype.nbytes(prod(shape)))
    encoding = ck.Encoding(little_endian=order != ">")
    return ck.TensorEntry(dtype, shape, (ck.Chunk((0,) * len(shape), shape, stored, strides, encoding),))


def read_head(head: bytes) -> tuple[ck.DType, tuple[int, ...], str, bool, int]:
    """Type, shape, byte order, whether it is column-major, and the offset of the elements."""
    if head[:6] != b"\x93NUMPY" or head[6] not in (1, 2, 3):
        raise ValueError("no head")
    width = 2 if head[6] == 1 else 4
    start = 8 + width + int.from_bytes(head[8 : 8 + width], "little")
    said = ast.literal_eval(head[8 + width : start].decode("latin-1").strip())
    order, kind, shape = said["descr"][0], said["descr"][1:], said["shape"]
    if start > len(head) or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError("no shape")
    return ck.DType[KINDS[kind]], tuple(shape), order, bool(said["fortran_order"]), start


@ck.hookimpl
def save(checkpoint: ck.Checkpoint, target: ck.Target) -> ck.Manifest:
    component = codecs.only_tensors(checkpoint, "npz")
    records = [record(component.label, name, info) for name, info in component.tensors.infos()]
    plan = ck.FilePlan(target.name, codecs.plan_zip(records), checksums=True)
    return target.write(ck.WritePlan((plan,)), checkpoint)


def record(component: str, name: str, info: ck.TensorInfo) -> codecs.Record:
    if info.dtype.code not in NUMPY:
        raise ck.UnsupportedFormatError(f"{ck.printable(name)}: numpy has no type {info.dtype.code}; try --dtype f32")
    kind = NUMPY[info.dtype.code]
    descr = f"{'<' if info.dtype.itemsize > 1 else '|'}{kind}"
    text = repr({"descr": descr, "fortran_order": False, "shape": info.shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    head = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    return codecs.Record(f"{name}.npy", ck.TensorBytes(component, name, info.nbytes), head)
