"""Headers read as strictly as the format's rules; each broken rule is one clear error that names the tensor."""

import json

import pytest
import safetensors
from hypothesis import given
from hypothesis import strategies as st

import ckpt_core
from ckpt_core import CkptError, CorruptError
from ckpt_core.codecs.heads.safetensors import MAX_HEADER
from ckpt_core.codecs.safetensors.reader import read_safetensors
from ckpt_core.storage.listing import list_files


def file_of(header, data=b"", *, raw=None):
    text = raw if raw is not None else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(begin, end, shape=(1,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def read(tmp_path, content):
    place = tmp_path / "x.safetensors"
    place.write_bytes(content)
    return read_safetensors(ckpt_core.list_files(str(place)), "x.safetensors")


GOOD = {"a": entry(0, 4), "b": entry(4, 12, (2,))}

BROKEN = {
    "empty file": (b"", "ST001"),
    "seven bytes": (b"\0" * 7, "ST001"),
    "length beyond the file": (file_of(GOOD, b"\0" * 12)[:40], "ST001"),
    "length beyond the format's limit": ((MAX_HEADER + 1).to_bytes(8, "little") + b"{}", "ST001"),
    "length of 2**63": ((1 << 63).to_bytes(8, "little") + b"{}", "ST001"),
    "leading space": (file_of(None, raw=b" {}"), "ST002"),
    "not JSON": (file_of(None, raw=b"{nope"), "ST002"),
    "not UTF-8": (file_of(None, raw=b'{"\xff": 1}'), "ST002"),
    "NaN in the header": (file_of(None, raw=b'{"a": NaN}'), "ST002"),
    "nested 100,000 deep": (file_of(None, raw=b'{"a":' + b"[" * 100_000), "ST002"),
    "metadata not of strings": (file_of({"__metadata__": {"a": 1}}), "ST003"),
    "duplicate tensor": (
        file_of(None, b"\0" * 4, raw=b'{"a":%s,"a":%s}' % ((json.dumps(entry(0, 4)).encode(),) * 2)),
        "ST004",
    ),
    "duplicate key in an entry": (
        file_of(None, b"", raw=b'{"a":{"dtype":"F32","dtype":"F32","shape":[0],"data_offsets":[0,0]}}'),
        "ST004",
    ),
    "unknown dtype": (file_of({"a": entry(0, 4, dtype="F33")}, b"\0" * 4), "ST005"),
    "negative shape": (file_of({"a": entry(0, 4, (-1,))}, b"\0" * 4), "ST005"),
    "shape of floats": (file_of({"a": entry(0, 4, (1.0,))}, b"\0" * 4), "ST005"),
    "shape of booleans": (file_of({"a": {**entry(0, 4), "shape": [True]}}, b"\0" * 4), "ST005"),
    "huge shape": (file_of({"a": entry(0, 4, (1 << 62, 4))}, b"\0" * 4), "ST005"),
    "shape is not the bytes": (file_of({"a": entry(0, 4, (2,))}, b"\0" * 4), "ST005"),
    "extra key": (file_of({"a": {**entry(0, 4), "x": 1}}, b"\0" * 4), "ST005"),
    "entry is a list": (file_of({"a": []}), "ST005"),
    "overlap": (file_of({"a": entry(0, 4), "b": entry(0, 4)}, b"\0" * 4), "ST006"),
    "hole": (file_of({"a": entry(0, 4), "b": entry(8, 12)}, b"\0" * 12), "ST006"),
    "hole at the start": (file_of({"a": entry(4, 8)}, b"\0" * 8), "ST006"),
    "truncated data": (file_of(GOOD, b"\0" * 11), "ST007"),
    "trailing bytes": (file_of(GOOD, b"\0" * 13), "ST008"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_named(tmp_path, name):
    content, code = BROKEN[name]
    with pytest.raises(CorruptError) as caught:
        read(tmp_path, content)
    assert caught.value.code == code
    assert "\n" not in caught.value.message and caught.value.message.startswith("x.safetensors: ")


def test_a_good_file_is_read_in_the_order_of_its_bytes(tmp_path):
    header = {"b": entry(4, 12, (2,)), "__metadata__": {"format": "pt"}, "a": entry(0, 4)}
    file = read(tmp_path, file_of(header, bytes(range(12))))
    assert list(file.tensors) == ["a", "b"]
    assert file.metadata == {"format": "pt"}
    assert file.tensors["b"].chunks[0].stored.length == 8


def test_padding_after_the_header_is_allowed(tmp_path):
    text = json.dumps(GOOD).encode() + b" " * 5
    assert len(read(tmp_path, file_of(None, b"\0" * 12, raw=text)).tensors) == 2


def test_four_bit_elements_share_bytes(tmp_path):
    file = read(tmp_path, file_of({"a": entry(0, 3, (6,), "F4")}, b"\0" * 3))
    assert file.tensors["a"].nbytes == 3
    with pytest.raises(CorruptError):
        read(tmp_path, file_of({"a": entry(0, 2, (3,), "F4")}, b"\0" * 2))


def test_a_huge_header_claim_is_refused_without_memory(tmp_path):
    place = tmp_path / "x.safetensors"
    with open(place, "wb") as file:
        file.write((99_000_000).to_bytes(8, "little") + b'{"a":')
        file.truncate(200_000_000)
    with pytest.raises(CkptError):
        read_safetensors(ckpt_core.list_files(str(place)), "x.safetensors")


@given(data=st.data())
def test_any_change_of_bytes_reads_equal_or_raises_our_error(tmp_path_factory, data):
    good = bytearray(file_of(GOOD, bytes(range(12))))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        table = read(tmp_path_factory.mktemp("fuzz"), bytes(good)).tensors
    except CkptError:
        return
    assert sum(info.nbytes for _, info in table.infos()) == 12


@pytest.mark.parametrize("name", [r"a\ud800", r"\udfff", r"x\uD83Dy"])
def test_half_a_surrogate_pair_is_refused_as_safetensors_refuses_it(tmp_path, name):
    header = f'{{"{name}":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}}'.encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\1")
    with pytest.raises(safetensors.SafetensorError):
        safetensors.safe_open(str(path), "np").__enter__()
    with pytest.raises(CorruptError) as refused:
        read_safetensors(list_files(str(path)), path.name)
    assert refused.value.code == "ST002"


def test_a_whole_surrogate_pair_is_text(tmp_path):
    header = rb'{"a\ud83d\ude00":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\1")
    assert list(read_safetensors(list_files(str(path)), path.name).tensors) == ["a\U0001f600"]
