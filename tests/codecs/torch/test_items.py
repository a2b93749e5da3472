"""Items as torch.save writes them one behind the other: every tensor found where torch finds it, and nothing beyond."""

import io
import pickle

import pytest
import torch

import ckpt_core
from ckpt_core import ByteRange, Chunk, CkptError, CorruptError, DType, Encoding, TensorEntry
from ckpt_core.codecs.torch.items import TORCH_ZIP, chunk_finder
from ckpt_core.reading.boxes import read_box

DTYPES = {
    DType.F32: torch.float32,
    DType.BF16: torch.bfloat16,
    DType.F16: torch.float16,
    DType.I64: torch.int64,
    DType.BOOL: torch.bool,
    DType.F8_E4M3: torch.float8_e4m3fn,
}


class Items:
    """A file of items, and what is read of them."""

    def __init__(self, folder, *contents, between=b""):
        self.ranges = []
        with open(folder / "items", "wb") as out:
            for content in contents:
                self.ranges.append(ByteRange("items", out.tell(), len(content)))
                out.write(content + between)
        self.files = ckpt_core.list_files(str(folder))
        self.confirm = chunk_finder(self.files)

    def chunk(self, index, shape, dtype=DType.F32):
        encoding = Encoding(TORCH_ZIP, dtype=dtype)
        return Chunk((0,) * len(shape), tuple(shape), self.ranges[index], encoding=encoding)

    def read(self, index, shape, dtype=DType.F32):
        entry = TensorEntry(dtype, tuple(shape), (self.chunk(index, shape, dtype),))
        out = memoryview(bytearray(entry.nbytes))
        read_box(self.files, "w", entry, ((0,) * len(shape), tuple(shape)), out, find_chunk=self.confirm)
        return bytes(out)


def zipped(tensor):
    out = io.BytesIO()
    torch.save(tensor, out)
    return out.getvalue()


def plain_bytes(tensor):
    return bytes(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())


@pytest.mark.parametrize(("dtype", "kind"), DTYPES.items())
def test_items_of_every_type_are_read(tmp_path, dtype, kind):
    tensors = [(torch.arange(12.0).reshape(3, 4) + i).to(kind) for i in range(3)]
    items = Items(tmp_path, *map(zipped, tensors))
    for index, tensor in enumerate(tensors):
        assert items.read(index, tensor.shape, dtype) == plain_bytes(tensor)


def test_items_of_every_layout_are_read(tmp_path):
    whole = torch.arange(24.0).reshape(2, 3, 4)
    tensors = [
        whole,
        whole.permute(2, 0, 1),
        whole.to(memory_format=torch.contiguous_format)[:, :, ::2].clone(),
        whole.reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last),
        torch.tensor(1.5),
        torch.empty(0, 4),
        whole[0, 0].expand(5, 4),
    ]
    items = Items(tmp_path, *map(zipped, tensors))
    for index, tensor in enumerate(tensors):
        assert items.read(index, tensor.shape) == plain_bytes(tensor), tensor.stride()


def test_an_item_that_looks_like_another_is_read_at_its_own_place(tmp_path):
    """Of one shape and one length, yet laid out otherwise: the pattern of one does not hold for the other."""
    first, second = torch.arange(16.0).reshape(4, 4), torch.arange(16.0).reshape(4, 4).t()
    contents = [zipped(first), zipped(second), zipped(first + 1), zipped(second + 1)]
    assert len({len(content) for content in contents}) == 1
    items = Items(tmp_path, *contents)
    for index, tensor in enumerate([first, second, first + 1, second + 1]):
        assert items.read(index, (4, 4)) == plain_bytes(tensor)


def test_a_large_item_is_read_by_its_ends_alone(tmp_path):
    tensors = [torch.randn(300, 40), torch.randn(300, 40)]
    items = Items(tmp_path, *map(zipped, tensors))
    seen = []
    read_into = items.files.read_into
    items.files.read_into = lambda path, offset, out: seen.append(len(out)) or read_into(path, offset, out)
    items.confirm(items.chunk(0, (300, 40)))
    seen.clear()
    items.confirm(items.chunk(1, (300, 40)))
    assert sum(seen) <= 4096
    items.confirm(items.chunk(1, (300, 40)))
    assert sum(seen) <= 4096


def test_big_endian_items_are_turned_round(tmp_path):
    tensor = torch.arange(6, dtype=torch.int32).reshape(2, 3)
    raw = plain_bytes(tensor)
    swapped = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    out = io.BytesIO()
    with torch.serialization._open_zipfile_writer(out) as writer:
        writer.write_record("data.pkl", _pickle_of(tensor), len(_pickle_of(tensor)))
        writer.write_record("byteorder", b"big", 3)
        writer.write_record("data/0", swapped, len(swapped))
    items = Items(tmp_path, out.getvalue())
    assert items.read(0, (2, 3), DType.I32) == raw


def _pickle_of(tensor):
    import zipfile

    with zipfile.ZipFile(io.BytesIO(zipped(tensor))) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))


def test_another_type_or_shape_than_the_table_says_is_refused_with_tensor_and_file(tmp_path):
    items = Items(tmp_path, zipped(torch.ones(4, 4)), zipped(torch.ones(8, dtype=torch.bfloat16)))
    for index, shape, dtype in [(0, (2, 8), DType.F32), (0, (4, 4), DType.I32), (1, (8,), DType.F16)]:
        with pytest.raises(CorruptError, match=r"w: items: the item at byte \d+ holds") as error:
            items.read(index, shape, dtype)
        assert (error.value.tensor, error.value.path, error.value.code) == ("w", "items", "DC020")


def test_nothing_outside_of_an_item_is_read(tmp_path):
    """A range that is too short or too long is no zip, though the file goes on with what it lacks."""
    content = zipped(torch.ones(4, 4))
    items = Items(tmp_path, content, content, between=bytes(8))
    good = items.ranges[0]
    for change in (-1, -8, 1, 8):
        items.ranges[0] = ByteRange("items", good.offset, good.length + change)
        with pytest.raises(CorruptError):
            items.read(0, (4, 4))
    for shift in (1, 8):
        items.ranges[0] = ByteRange("items", good.offset + shift, good.length)
        with pytest.raises(CorruptError):
            items.read(0, (4, 4))
    items.ranges[0] = ByteRange("items", len(content) * 2, good.length)
    with pytest.raises(CorruptError, match="ends at"):
        items.read(0, (4, 4))
    items.ranges[0] = ByteRange("other", 0, good.length)
    with pytest.raises(CorruptError, match="no such file"):
        items.read(0, (4, 4))


@pytest.mark.parametrize("where", ["head", "tail"])
def test_a_damaged_item_does_not_pass_for_one_like_its_neighbour(tmp_path, where):
    """Every byte before and behind the elements counts, but for checksums and torch's serialization id."""
    content = zipped(torch.ones(64, 64))
    payload = content.index(plain_bytes(torch.ones(64, 64)))
    places = range(0, payload, 7) if where == "head" else range(payload + 64 * 64 * 4, len(content), 7)
    items = Items(tmp_path, content, content)
    before = items.confirm(items.chunk(0, (64, 64))).stored
    accepted = 0
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 0x41
        (tmp_path / "items").write_bytes(content + damaged)
        fresh = chunk_finder(ckpt_core.list_files(str(tmp_path)))
        fresh(items.chunk(0, (64, 64)))
        try:
            found = fresh(items.chunk(1, (64, 64))).stored
        except CkptError:
            continue
        accepted += 1
        assert found.offset - len(content) == before.offset
    assert accepted < len(places)


def test_an_item_that_would_run_code_is_refused_and_runs_nothing(tmp_path):
    mark = tmp_path / "mark"

    class Evil:
        def __reduce__(self):
            return (__import__("os").system, (f"touch {mark}",))

    content = io.BytesIO()
    with torch.serialization._open_zipfile_writer(content) as writer:
        data = pickle.dumps(Evil(), 2)
        writer.write_record("data.pkl", data, len(data))
    items = Items(tmp_path, content.getvalue())
    with pytest.raises(ckpt_core.UnsafeContentError):
        items.read(0, (4,))
    assert not mark.exists()


def test_what_is_no_plain_tensor_is_refused(tmp_path):
    sparse = torch.eye(3).to_sparse()
    items = Items(tmp_path, zipped({"a": torch.ones(2)}), zipped(sparse))
    with pytest.raises(CorruptError, match="no tensor"):
        items.read(0, (2,))
    with pytest.raises(ckpt_core.UnsupportedFormatError, match="not plain and strided"):
        items.read(1, (3, 3))
