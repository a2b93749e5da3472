"""Verifying a store: what is lost or damaged is named, with the versions that it is of."""

import hashlib
import json
import os

import pytest
import torch

import ckpt_core
from ckpt_core.errors import CorruptError
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.storage.versions.index import index_of, parse_index
from ckpt_core.training import Keep


@pytest.fixture
def store(tmp_path):
    place = tmp_path / "versions"
    for number in range(3):
        tensors = {"own": torch.full((64,), 1.0 + number), "shared": torch.zeros(64)}
        ckpt_core.save({"model": tensors}, tmp_path / f"{number}.safetensors")
        ckpt_core.publish(tmp_path / f"{number}.safetensors", place)
    return place


def found(store):
    return [(one.code, one.message) for one in ckpt_core.verify_versions(store).findings]


def pack_of(store, number):
    record = ckpt_core.list_versions(store).versions[number]
    return store / "objects" / record.table.partition("/")[2] / "pack-000000"


def test_a_sound_store_is_read_once(store):
    report = ckpt_core.verify_versions(store)
    assert report.ok
    assert (report.versions, report.pieces) == (3, 1 + 1 + 3), "a header, the shared tensor, and three others"


def test_a_flipped_bit_is_named_with_the_versions_that_have_it(store):
    pack = pack_of(store, 0)
    data = bytearray(pack.read_bytes())
    data[-300] ^= 1
    pack.write_bytes(data)
    ((code, message),) = found(store)
    assert code == "VS003"
    assert "v0" in message


def test_a_lost_and_a_cut_object_are_named(store):
    pack_of(store, 1).unlink()
    cut = pack_of(store, 2)
    cut.write_bytes(cut.read_bytes()[:-1])
    assert sorted((code, message[-2:]) for code, message in found(store)) == [("VS001", "v1"), ("VS001", "v2")]


def test_a_broken_table_record_index_and_alias_are_named(store):
    ckpt_core.set_alias(store, "best", "v0")
    for part in ("tables", "versions", "indexes"):
        path = sorted((store / part).iterdir())[0]
        path.write_bytes(path.read_bytes()[:30])
    codes = [code for code, _ in found(store)]
    assert codes.count("VS002") >= 2
    assert "VS004" in codes


def first_index(store):
    publication = ckpt_core.list_versions(store).versions[0].table.partition("/")[2]
    return next((store / "indexes").glob(f"{publication}-*"))


def test_an_index_that_points_at_the_neighbour_is_named(store):
    path = first_index(store)
    index = parse_index(path.read_bytes(), "index")
    rows = dict(index)
    one, other = [digest for digest, place in rows.items() if place.length == 256]
    rows[one] = rows[other]
    path.write_bytes(index_of(rows, index.sizes))
    assert [code for code, _ in found(store)] == ["VS002"]


def test_an_index_that_names_a_place_of_no_piece_is_proved_by_its_bytes(store):
    path = first_index(store)
    index = parse_index(path.read_bytes(), "index")
    rows = dict(index)
    digest, place = next((digest, place) for digest, place in rows.items() if place.offset >= 8)
    rows[digest] = ByteRange(place.path, place.offset - 8, place.length)
    path.write_bytes(index_of(rows, index.sizes))
    ((code, message),) = found(store)
    assert (code, message[-8:]) == ("VS003", "an index")


def relabelled(store, number, change):
    """Write a record that fits another table."""
    path = store / "versions" / f"{number:010}.json"
    record = json.loads(path.read_text())
    table = store / record["table"]
    table.write_bytes(change(table.read_bytes()))
    record["table_digest"] = hashlib.sha256(table.read_bytes()).hexdigest()
    path.write_text(json.dumps(record))


def digest_of_own(store, number):
    """The digest of the tensor that only this version has."""
    tensor = torch.full((64,), 1.0 + number).numpy().tobytes()
    return hashlib.sha256(b"F32 [64]\n" + tensor).digest()


def test_another_digest_for_a_place_is_named_though_the_first_one_is_right(store):
    """v1 says that the shared tensor is what v2 alone has."""
    shared = hashlib.sha256(b"F32 [64]\n" + bytes(256)).digest()
    relabelled(store, 1, lambda data: data.replace(shared, digest_of_own(store, 2)))
    assert any(code == "VS002" and "another content" in message for code, message in found(store))


def test_two_digests_of_one_place_are_both_compared(store):
    """Both versions say of their own content what their tables say."""
    shared = hashlib.sha256(b"F32 [64]\n" + bytes(256)).digest()
    relabelled(store, 1, lambda data: data.replace(shared, digest_of_own(store, 2)))
    path = store / "versions" / "0000000001.json"
    record = json.loads(path.read_text())
    from ckpt_core.storage.versions.table import parse_table

    table = parse_table((store / record["table"]).read_bytes(), "table", record["table_digest"])
    path.write_text(json.dumps({**record, "content": table.content()}))
    assert ("VS003", True) in [(code, message.endswith("of v1")) for code, message in found(store)]


def test_a_seal_that_was_changed_in_a_table_is_named(store):
    record = ckpt_core.list_versions(store).versions[0]
    table = store / record.table
    data = table.read_bytes()
    table.write_bytes(data[:-2] + b" \n")
    ((code, message),) = found(store)
    assert code == "VS002"
    assert "SHA-256" in message
    with pytest.raises(CorruptError, match="SHA-256"):
        ckpt_core.load(f"{store}@v0")


def test_a_lost_record_is_named_and_nothing_is_pruned(store):
    (store / "versions" / "0000000001.json").unlink()
    ((code, message),) = found(store)
    assert (code, message[:3]) == ("VS005", "v1:")
    before = sorted(store.rglob("*"))
    with pytest.raises(CorruptError, match="v1 is lost"):
        ckpt_core.prune_versions(store, Keep(last=1), apply=True)
    assert [one for one in before if not one.exists()] == []
    assert [one.name for one in ckpt_core.list_versions(store).versions] == ["v0", "v2"]


def test_a_store_of_which_nothing_was_proved_is_not_ok(store):
    for path in (store / "versions").iterdir():
        path.unlink()
    ((code, message),) = found(store)
    assert code == "VS006"
    assert "objects of some" in message


def test_a_store_that_nothing_was_published_to_is_not_ok(tmp_path):
    (tmp_path / "ckpt.versions.json").write_bytes(b'{"schema": "ckpt/versions@1"}\n')
    ((code, message),) = found(tmp_path)
    assert code == "VS006"
    assert "nothing is published" in message


def test_a_record_that_lies_is_named_and_does_not_open(store):
    path = store / "versions" / "0000000001.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "number": 0}))
    ((code, message),) = found(store)
    assert code == "VS002"
    assert "its number" in message
    with pytest.raises(CorruptError, match="its number"):
        ckpt_core.load(f"{store}@v1")


@pytest.mark.parametrize("part", ["versions", "tables", "aliases"])
def test_what_is_too_large_is_named_and_not_read(store, part):
    ckpt_core.set_alias(store, "best", "v0")
    os.truncate(next((store / part).glob("[!.]*")), 1 << 31)
    assert any(code == "VS002" and "at most" in message for code, message in found(store))
