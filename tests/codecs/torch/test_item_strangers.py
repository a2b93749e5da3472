"""What lies in an item of a distributed checkpoint besides its tensor is named, and an item of torch's has nothing."""

import io

import pytest
import torch

import ckpt_core
from ckpt_core import ByteRange
from ckpt_core.codecs import check_items

TENSORS = {
    "plain": torch.arange(6.0).reshape(2, 3),
    "scalar": torch.tensor(3),
    "transposed": torch.arange(6.0).reshape(2, 3).t(),
    "empty": torch.empty(0, 4),
    "half": torch.ones(5, dtype=torch.bfloat16),
}


def item_of(tensor, more=()):
    """An item with more records than its tensor has, all written by torch's own writer."""
    stream = io.BytesIO()
    torch.save(tensor, stream)
    if not more:
        return stream.getvalue()
    reader = torch._C.PyTorchFileReader(io.BytesIO(stream.getvalue()))
    records = {name: reader.get_record(name) for name in reader.get_all_records()}
    out = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(out)
    for name, content in {**records, **dict.fromkeys(more, b"x")}.items():
        if name not in ("version", ".data/serialization_id"):  # which it writes itself
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    return out.getvalue()


def found_in(folder, *items):
    (folder / "__0_0.distcp").write_bytes(b"".join(items))
    offsets = [sum(map(len, items[:number])) for number in range(len(items))]
    places = [ByteRange("__0_0.distcp", at, len(item)) for at, item in zip(offsets, items, strict=True)]
    files = ckpt_core.list_files(str(folder))
    return [(f.code, f.tensor) for f in check_items(files, [(f"w{n}", place) for n, place in enumerate(places)])]


def test_items_as_torch_writes_them_hold_nothing_else(tmp_path):
    assert found_in(tmp_path, *map(item_of, TENSORS.values())) == []


@pytest.mark.parametrize("name", ["notes.txt", "data/1", "evil.pkl", "data/0.pkl"])
def test_a_record_that_no_tensor_needs_is_named_with_its_item(tmp_path, name):
    items = [item_of(TENSORS["plain"]), item_of(TENSORS["plain"], [name]), item_of(TENSORS["half"])]
    found = found_in(tmp_path, *items)
    assert found == [("ZP008", "w1")]
