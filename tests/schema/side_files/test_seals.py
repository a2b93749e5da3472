import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_core.errors import CorruptError
from ckpt_core.schema.side_files.reserved_names import is_ours
from ckpt_core.schema.side_files.seals import DIGEST_BYTES, Certificate, FileSeal, Seal, pack, unpack

MIB = 1 << 20
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
digests = st.text("0123456789abcdef", min_size=32, max_size=32)


@st.composite
def file_seals(draw):
    blocks = draw(st.integers(0, 4))
    size = 0 if not blocks else draw(st.integers((blocks - 1) * MIB + 1, blocks * MIB))
    return FileSeal(
        size, draw(digests), draw(st.binary(min_size=blocks * DIGEST_BYTES, max_size=blocks * DIGEST_BYTES))
    )


seals = st.builds(
    Seal,
    format=texts,
    files=st.dictionaries(texts, file_seals(), max_size=4),
    tensors=st.dictionaries(texts, st.dictionaries(texts, digests, max_size=3), max_size=3),
    components=st.dictionaries(texts, digests, max_size=3),
    certificates=st.dictionaries(texts, st.builds(Certificate, texts, digests, texts, digests), max_size=3),
    provenance=st.dictionaries(texts, st.none() | st.booleans() | st.integers() | texts, max_size=3),
)


@given(seals, st.booleans())
def test_a_seal_survives_being_packed(seal, apart):
    text, blocks = pack(seal, apart=apart)
    assert unpack(text, blocks if apart else None, path="s") == seal
    assert apart or blocks == b""


@given(seals, st.booleans())
def test_the_same_seal_makes_the_same_bytes(seal, apart):
    other = Seal(seal.format, dict(reversed(seal.files.items())), provenance=dict(reversed(seal.provenance.items())))
    same = Seal(seal.format, seal.files, provenance=seal.provenance)
    assert pack(other, apart=apart) == pack(same, apart=apart)


ONE = Seal("safetensors", {"m": FileSeal(2 * MIB, "0" * 32, bytes(2 * DIGEST_BYTES))}, {"model": {"w": "1" * 32}})


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail_otherwise_than_by_its_code(data):
    for text in (data, pack(ONE, apart=False)[0] + data[:1].strip() + data):
        try:
            unpack(text, None, path="s")
        except CorruptError as error:
            assert error.code == "SL005"


def broken_seals():
    document = json.loads(pack(ONE, apart=False)[0])
    yield b""
    yield b"[]"
    yield b"null"
    yield b"\xff\xfe"
    yield b"[" * 100_000
    for key in document:
        yield json.dumps({name: value for name, value in document.items() if name != key}).encode()
    for key in ("schema", "files", "certificates"):
        yield json.dumps({**document, key: 7}).encode()
    entry = document["files"]["m"]
    for size in (-1, 1.5, "2", None, 1 << 80, 10 * MIB):
        yield json.dumps({**document, "files": {"m": {**entry, "size": size}}}).encode()
    for blocks in ("", "AAAA", "§", 3, None):
        yield json.dumps({**document, "files": {"m": {**entry, "blocks": blocks}}}).encode()
    yield json.dumps({**document, "certificates": {"w": ["too", "few"]}}).encode()


@pytest.mark.parametrize("text", list(broken_seals()), ids=lambda text: repr(text[:20]))
def test_a_seal_that_is_damaged_is_told_by_its_code(text):
    with pytest.raises(CorruptError, match=r"m\.ckpt\.json: not a seal that can be read") as caught:
        unpack(text, None, path="m.ckpt.json")
    assert caught.value.code == "SL005"


@pytest.mark.parametrize("size", [0, DIGEST_BYTES, 2 * DIGEST_BYTES - 1])
def test_digests_that_are_cut_short_are_told(size):
    text, blocks = pack(ONE, apart=True)
    with pytest.raises(CorruptError):
        unpack(text, blocks[:size], path="s")


def test_what_a_write_leaves_is_no_part_of_a_checkpoint():
    listed = {"m.safetensors", "a/w.pth"}
    ours = [
        "ckpt.manifest.json",
        "sub/ckpt.blocks",
        "m.safetensors.ckpt.json",
        ".m.ckpt-lock",
        ".m.ckpt-stage-save-1/data/m",
        "a/.w.pth.ckpt-old/x",
    ]
    theirs = ["m.safetensors", "config.json", "other.ckpt.json", "x.ckpt-1", ".hidden", "last.ckpt"]
    assert all(is_ours(path, listed) for path in ours)
    assert not any(is_ours(path, listed) for path in theirs)
