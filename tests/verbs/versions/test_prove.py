"""Verifying a store: what is lost or damaged is named, with the versions that it is of."""

import pytest
import torch

import ckpt_core


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
