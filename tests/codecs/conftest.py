"""Files made of bytes, and a reader of their tensors that follows chunks and strides and nothing else."""

import io
import pickle
import zipfile

import numpy as np
import pytest
import torch

import ckpt_core
from ckpt_core.codecs.heads.torch import LEGACY_MAGIC
from ckpt_core.codecs.torch.reader import read_torch_file
from ckpt_core.reading.scan.full import walk
from ckpt_core.schema.findings import Finding

NUMPY = {"BOOL": "?", "U8": "u1", "I8": "i1", "I16": "i2", "U16": "u2", "F16": "f2", "I32": "i4", "U32": "u4"} | {
    "F32": "f4", "I64": "i8", "U64": "u8", "F64": "f8", "C64": "c8", "C128": "c16", "BF16": "u2"
}  # fmt: skip


class Opened:
    """A torch file of these bytes, read; `data(name)` gives the row-major little-endian bytes of a tensor."""

    def __init__(self, folder, content, name="x.pth"):
        place = folder / name
        place.write_bytes(content)
        self.files = ckpt_core.list_files(str(place))
        self.file = read_torch_file(self.files, name)

    def check_bytes(self):
        """What the walk over its bytes finds."""
        self.file.confirm()
        sums = self.file.checksums()
        errors = [Finding.of_error(error) for error in walk(self.files, sums)]
        return [*errors, *(finding for found in sums for finding in found.findings())]

    def data(self, name):
        self.file.confirm()
        entry = self.file.tensors[name]
        (chunk,) = entry.chunks
        assert (chunk.offsets, chunk.sizes) == ((0,) * len(entry.shape), entry.shape)
        raw = self.files.read(chunk.stored.path, chunk.stored.offset, chunk.stored.length)
        kind = np.dtype(NUMPY.get(entry.dtype.code, "u1"))
        if not chunk.encoding.little_endian:
            kind = kind.newbyteorder(">")
        stored = np.frombuffer(raw, kind)
        if chunk.strides is not None:
            strides = [stride * kind.itemsize for stride in chunk.strides]
            stored = np.lib.stride_tricks.as_strided(stored, entry.shape, strides)
        return stored.astype(kind.newbyteorder("<")).tobytes()


@pytest.fixture(scope="session")
def opened(tmp_path_factory):
    """Opens bytes as a torch file."""
    folder = tmp_path_factory.mktemp("torch")
    return lambda content, name="x.pth": Opened(folder, content, name)


@pytest.fixture(scope="session")
def saved():
    """What torch.save makes of an object, as bytes."""

    def save(value, *, legacy=False, protocol=2):
        out = io.BytesIO()
        torch.save(value, out, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
        return out.getvalue()

    return save


@pytest.fixture(scope="session")
def zipped():
    """A torch zip file of these records, written by Python's zipfile; without a root in their names."""

    def build(pickle, **records):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("x/data.pkl", pickle)
            for name, content in ({"version": b"3\n"} | records).items():
                archive.writestr(f"x/{name.replace('__', '/')}", content)
        return out.getvalue()

    return build


@pytest.fixture(scope="session")
def legacy():
    """A legacy torch file around a pickle, with storages of (key, number of elements, bytes)."""

    def build(content, *storages):
        start = [pickle.dumps(value, 2) for value in (LEGACY_MAGIC, 1001, {"little_endian": True})]
        keys = pickle.dumps([key for key, _, _ in storages], 2)
        data = [numel.to_bytes(8, "little") + raw for _, numel, raw in storages]
        return b"".join([*start, content, keys, *data])

    return build
