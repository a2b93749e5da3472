"""The layout before 1.6: storages are placed by counting, read little by little, and their counts are proven."""

import pickle

import pytest
import torch

import ckpt_core
from ckpt_core import BudgetError, CorruptError, knobs
from ckpt_core.codecs.torch.reader import read_torch_file


def tensor_pickle(*, dtype="Float", key="0", numel=4, offset=0, shape=(4,), strides=(1,), view="N"):
    """The pickle of `{"w": tensor}`, assembled of opcodes; `view` as an opcode string."""
    tail = b"N" if view == "N" else view
    return (
        b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\n%sStorage\n"
        % dtype.encode()
        + b"".join(raw(value) for value in (key, "cpu", numel))
        + tail
        + b"tQ"
        + b"".join(raw(value) for value in (offset, shape, strides))
        + b"\x89ccollections\nOrderedDict\n)RtRs."
    )


def raw(value):
    """The opcodes of a value, without PROTO and STOP."""
    return pickle.dumps(value, 2)[2:-1].replace(b"q\0", b"")


FOUR = torch.arange(4.0).numpy().tobytes()


def test_a_storage_follows_its_count(opened, legacy):
    found = opened(legacy(tensor_pickle(), ("0", 4, FOUR)))
    assert found.data("w") == FOUR


def test_a_view_of_a_storage_is_a_part_of_it(opened, legacy):
    view = b"(X\x01\0\0\0vK\x01K\x02t"
    found = opened(legacy(tensor_pickle(shape=(2,), view=view), ("0", 4, FOUR)))
    assert found.data("w") == FOUR[4:12]
    with pytest.raises(CorruptError, match="w: ") as refused:
        opened(legacy(tensor_pickle(shape=(2,), view=view.replace(b"K\x01", b"K\x03")), ("0", 4, FOUR)))
    assert refused.value.tensor == "w"


LIES = {
    "a shape beyond the storage": ({"shape": (5,)}, "TF002"),
    "an offset beyond the storage": ({"offset": 1}, "TF002"),
    "strides beyond the storage": ({"strides": (2,)}, "TF002"),
    "a shape of 2**62 times 2**62": ({"shape": (1 << 62, 1 << 62), "strides": (0, 0)}, "TF002"),
    "a storage that is not there": ({"key": "1"}, "TF001"),
    "a storage larger than the file": ({"numel": 1 << 40}, "TF001"),
    "a negative shape": ({"shape": (-1,)}, "PK001"),
    "a negative stride": ({"strides": (-1,)}, "PK001"),
    "a negative offset": ({"offset": -1}, "PK001"),
    "an offset of 2**64": ({"offset": 1 << 64}, "PK001"),
    "a shape that is a list": ({"shape": [4]}, "PK001"),
    "a shape of booleans": ({"shape": (True,)}, "PK001"),
    "more strides than sizes": ({"strides": (1, 1)}, "PK001"),
    "65 dimensions": ({"shape": (1,) * 65, "strides": (1,) * 65}, "PK001"),
    "a key that is a number": ({"key": 0}, "PK001"),
    "a count that is a float": ({"numel": 4.0}, "PK001"),
    "no storage class": ({"dtype": "No"}, "PK001"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_tensor_that_lies_about_its_storage_is_corrupt(opened, legacy, name):
    lies, code = LIES[name]
    with pytest.raises(CorruptError) as refused:
        opened(legacy(tensor_pickle(**lies), ("0", 4, FOUR)))
    assert refused.value.code == code


@pytest.mark.parametrize("name", [name for name, (_, code) in LIES.items() if code in ("TF002", "PK001")])
def test_the_same_lies_are_corrupt_in_a_zip(opened, zipped, name):
    lies, code = LIES[name]
    with pytest.raises(CorruptError) as refused:
        opened(zipped(tensor_pickle(**lies), data__0=FOUR))
    assert refused.value.code == code


@pytest.mark.parametrize(
    "records", [{}, {"data__0": FOUR[:-1]}, {"data__1": FOUR}], ids=["missing", "too short", "another key"]
)
def test_a_storage_that_a_zip_lacks_is_named_with_its_tensor(opened, zipped, records):
    with pytest.raises(CorruptError, match="w: its storage data/0") as refused:
        opened(zipped(tensor_pickle(), **records))
    assert (refused.value.code, refused.value.tensor) == ("TF003", "w")


def test_a_byte_order_that_is_neither_is_corrupt(opened, zipped):
    with pytest.raises(CorruptError, match="byte order"):
        opened(zipped(tensor_pickle(), data__0=FOUR, byteorder=b"middle"))


def test_one_storage_of_two_sizes_is_corrupt(opened, legacy):
    other = tensor_pickle(numel=3)[2:-1].replace(b"}X\x01\0\0\0w", b"X\x01\0\0\0v", 1)
    with pytest.raises(CorruptError, match="two sizes"):
        opened(legacy(tensor_pickle()[:-1] + other + b".", ("0", 4, FOUR)))


def test_a_count_that_differs_is_found_before_the_first_read(opened, legacy):
    found = opened(legacy(tensor_pickle(), ("0", 5, FOUR)))
    with pytest.raises(CorruptError, match="5 elements by its own header, 4 by the pickle") as refused:
        found.file.confirm()
    assert refused.value.code == "TF003"


def test_every_truncation_is_corrupt(opened, saved):
    content = saved({"w": torch.arange(4.0), "b": [1, "x"]}, legacy=True)
    for end in range(len(content)):
        with pytest.raises(CorruptError):
            opened(content[:end])


def test_bytes_behind_the_last_storage_are_a_warning(opened, saved):
    found = opened(saved({"w": torch.arange(4.0)}, legacy=True) + b"more")
    assert [note.code for note in found.file.findings] == ["TF007"]


def test_changed_bytes_cannot_be_told(opened, saved):
    found = opened(saved({"w": torch.arange(4.0)}, legacy=True))
    assert [note.code for note in found.check_bytes()] == ["TF008"]


PRELUDES = {
    "the magic number": (b"\x8a\x0a\x6c", b"\x8a\x0a\x6d"),
    "the protocol": (pickle.dumps(1001, 2), pickle.dumps(1002, 2)),
    "the machine": (pickle.dumps({"little_endian": True}, 2), pickle.dumps([1], 2)),
    "the keys": (pickle.dumps(["0"], 2), pickle.dumps({"0": 1}, 2)),
    "a key twice": (pickle.dumps(["0"], 2), pickle.dumps(["0", "0"], 2)),
    "a key of no tensor": (pickle.dumps(["0"], 2), pickle.dumps(["0", "9"], 2)),
}


@pytest.mark.parametrize("name", PRELUDES)
def test_a_damaged_prelude_is_corrupt(opened, legacy, name):
    content = legacy(tensor_pickle(), ("0", 4, FOUR))
    before, after = PRELUDES[name]
    assert before in content
    with pytest.raises(CorruptError) as refused:
        opened(content.replace(before, after))
    assert refused.value.code == "TF001"


def test_a_long_pickle_is_read_in_growing_pieces(saved, tmp_path):
    value = {f"some.long.name.{index}": torch.zeros(1) for index in range(20_000)} | {"data": torch.zeros(8 << 20)}
    (tmp_path / "x.pt").write_bytes(saved(value, legacy=True))
    files = ckpt_core.list_files(str(tmp_path / "x.pt"))
    asked = []
    read_into = files.read_into
    files.read_into = lambda path, offset, out: asked.append((offset, len(out))) or read_into(path, offset, out)
    file = read_torch_file(files, "x.pt")
    assert len(file.tensors) == 20_001
    assert len(asked) <= 5
    assert sum(length for _, length in asked) < 8 << 20


def test_a_pickle_longer_than_the_limit_is_over_budget(opened, saved):
    content = saved({"text": "x" * 200_000}, legacy=True)
    with knobs.override(header_limit=100_000), pytest.raises(BudgetError, match="CKPT_HEADER_LIMIT"):
        opened(content)
