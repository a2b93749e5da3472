"""The `npy` format: arrays that numpy.save wrote, one a file. Source: numpy, `numpy/lib/format.py`."""

import ast
from collections.abc import Iterator
from itertools import accumulate
from math import prod
from operator import mul

import ckpt_core as ck

WIDTHS = {"b": {1: "BOOL"}, "f": {2: "F16", 4: "F32", 8: "F64"}, "c": {8: "C64", 16: "C128"}}
WIDTHS |= {kind: {n: f"{kind.upper()}{8 * n}" for n in (1, 2, 4, 8)} for kind in "iu"}


@ck.hookimpl
def formats() -> tuple[ck.Format, ...]:
    return (ck.Format("npy", "arrays that numpy.save wrote: one .npy file, or a directory of them"),)


@ck.hookimpl
def detect_format(files: ck.Files) -> Iterator[ck.FormatMatch]:
    found = [path for path in files.entries if path.endswith(".npy") and files.head(path)[:6] == b"\x93NUMPY"]
    if found:
        yield ck.FormatMatch("npy", ck.Confidence.LIKELY, f"{ck.printable(found[0])} begins as numpy.save writes")


@ck.hookimpl
def load(files: ck.Files, match: ck.FormatMatch, request: ck.LoadRequest) -> ck.StoredCheckpoint:
    arrays = {path.removesuffix(".npy"): entry(files, path) for path in files.entries if path.endswith(".npy")}
    return ck.StoredCheckpoint(files, match, ck.Manifest((ck.Component("model", ck.TensorTable.of(arrays)),)))


def entry(files: ck.Files, path: str) -> ck.TensorEntry:
    head = files.head(path)
    start = 10 + int.from_bytes(head[8:10], "little")
    try:
        header = ast.literal_eval(head[10:start].decode("latin-1").strip())
        (order, kind, *width), shape = header["descr"], header["shape"]
        dtype = ck.DType[WIDTHS[kind][int("".join(width))]]
        if not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError(shape)
        strides = tuple(accumulate((1, *shape[:-1]), mul)) if header["fortran_order"] and shape else None
        stored = ck.ByteRange(path, start, dtype.nbytes(prod(shape)))
    except (SyntaxError, ValueError, LookupError, TypeError, MemoryError, RecursionError) as error:
        raise ck.CorruptError(f"{ck.printable(path)}: no header of numpy.save; save it again", path=path) from error
    encoding = ck.Encoding(little_endian=order != ">")
    return ck.TensorEntry(dtype, shape, (ck.Chunk((0,) * len(shape), shape, stored, strides, encoding),))
