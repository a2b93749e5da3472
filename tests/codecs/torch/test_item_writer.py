"""Items that are planned: torch and zipfile read them, and so does our strict reader, at any size."""

import io
import zipfile

import pytest
import torch

from ckpt_core.codecs.torch.item_writer import plan_tensor_item
from ckpt_core.codecs.torch.items import chunk_finder
from ckpt_core.codecs.zip.directory import read_archive
from ckpt_core.errors import UnsupportedFormatError
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.plans import Literal, TensorBytes
from ckpt_core.schema.tensors import ByteRange, Chunk, Encoding
from ckpt_core.storage.listing import list_files

GIB = 1 << 30


def raw(tensor):
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def item(data, dtype, shape):
    """The bytes of an item that holds these."""
    from zlib import crc32

    content = TensorBytes("model", "w", len(data))
    before, _, behind = plan_tensor_item(content, dtype, shape)
    last = behind.data if isinstance(behind, Literal) else behind.make({content: crc32(data)})
    assert len(last) == behind.length
    return before.data + data + last


@pytest.mark.parametrize("name", ["float32", "bfloat16", "bool", "uint16", "float8_e4m3fn", "complex128"])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3), (300, 5)])
def test_torch_loads_an_item_as_the_tensor_it_holds(name, shape):
    dtype = getattr(torch, name)
    tensor = torch.ones(shape).to(dtype)
    data = raw(tensor)
    code = {"float32": "F32", "bfloat16": "BF16", "bool": "BOOL", "uint16": "U16", "float8_e4m3fn": "F8_E4M3"}
    made = item(data, DType[code.get(name, "C128")], shape)
    found = torch.load(io.BytesIO(made), weights_only=True)
    assert (found.dtype, found.shape) == (dtype, shape)
    assert raw(found) == data
    assert zipfile.ZipFile(io.BytesIO(made)).testzip() is None


def test_an_item_has_its_elements_where_torch_itself_puts_them():
    """Aligned within the item, checksums behind them, so that readers of torch's files need no other way."""
    tensor = torch.arange(6.0)
    made = item(tensor.numpy().tobytes(), DType.F32, (6,))
    theirs = io.BytesIO()
    torch.save(tensor, theirs)
    records = [zipfile.ZipFile(file).getinfo("archive/data/0") for file in (io.BytesIO(made), theirs)]
    assert records[0].flag_bits == records[1].flag_bits
    assert records[0].CRC == records[1].CRC
    assert made.index(tensor.numpy().tobytes()) % 64 == 0


@pytest.mark.parametrize("size", [5 * GIB, (1 << 32) - 1, (1 << 32) - 2, 1 << 32])
def test_items_beyond_four_gibibytes_are_what_others_read(size, tmp_path):
    """Of a sparse file: zipfile compares local headers when it opens, our reader descriptors and places too."""
    before, content, behind = plan_tensor_item(TensorBytes("model", "w", size), DType.U8, (size,))
    path = tmp_path / "item.pt"
    with open(path, "wb") as file:
        file.write(before.data)
        file.seek(before.length + size)
        file.write(behind.make({content: 7}))
    with zipfile.ZipFile(path) as archive:
        assert archive.getinfo("archive/data/0").file_size == size
        assert archive.read("archive/version") == b"3\n"
    files = list_files(str(path))
    assert read_archive(files, "item.pt")["archive/data/0"].data_offset == before.length
    chunk = Chunk((0,), (size,), ByteRange("item.pt", 0, path.stat().st_size), encoding=Encoding("torch-zip"))
    assert chunk_finder(files)(chunk).stored == ByteRange("item.pt", before.length, size)


def test_a_type_that_torch_lacks_is_refused():
    with pytest.raises(UnsupportedFormatError, match="torch has no type F4"):
        plan_tensor_item(TensorBytes("model", "w", 1), DType.F4, (2,))
