"""Each finding about a seal, made for real: files written by save and changed afterwards."""

import json
import os
import shutil

import numpy as np
import pytest

import ckpt_core
from ckpt_core.schema.verification import Depth
from ckpt_core.storage.digests import BLOCK
from ckpt_core.storage.listing import list_files
from ckpt_core.storage.sealing import read_seal
from ckpt_core.verbs.save import save

WIDE = BLOCK // 4
NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A file and a directory with a tensor to each 1 MiB, and a bit."""
    folder = tmp_path_factory.mktemp("sealed")
    weights = {name: np.full((WIDE,), number, "f4") for number, name in enumerate(NAMES)}
    save(weights, str(folder / "m.safetensors"))
    save(weights, str(folder / "d"), format="hf", options={"max_shard_size": "2MB"})
    return folder


@pytest.fixture
def file(made, tmp_path):
    for name in ("m.safetensors", "m.safetensors.ckpt.json"):
        shutil.copy(made / name, tmp_path / name)
    return tmp_path / "m.safetensors"


@pytest.fixture
def directory(made, tmp_path):
    return shutil.copytree(made / "d", tmp_path / "d")


def findings(path, depth=Depth.BYTES):
    report = ckpt_core.verify(str(path), depth=depth).report
    return [finding for finding in report.findings if finding.severity > ckpt_core.Severity.INFO]


def codes(path, depth=Depth.BYTES):
    return {finding.code for finding in findings(path, depth)}


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def test_what_was_not_changed_has_no_finding(file, directory):
    assert findings(file) == findings(directory) == []


def test_a_copy_stays_sealed(directory, tmp_path):
    copied = shutil.copytree(directory, tmp_path / "copy")
    assert read_seal(list_files(str(copied))) is not None
    assert findings(copied) == []


@pytest.mark.parametrize("change", [lambda path: os.truncate(path, path.stat().st_size + 4), None])
def test_another_size_makes_the_seal_stale(file, change):
    """SL001"""
    if change is not None:
        change(file)
    else:
        save({"w": np.zeros(3, "f4")}, str(file.with_name("other.safetensors")))
        shutil.copy(file.with_name("other.safetensors"), file)
    found = [finding for finding in findings(file, Depth.LAYOUT) if finding.code == "SL001"]
    assert [finding.path for finding in found] == ["m.safetensors"]
    assert "stale seal" in found[0].message


@pytest.mark.parametrize(("offset", "name"), [(300, "a"), (BLOCK + 5000, "b"), (-1, "c")])
def test_one_flipped_bit_is_found_with_its_block_and_tensor(file, offset, name):
    """SL002"""
    offset %= file.stat().st_size
    flip(file, offset)
    assert "SL002" not in codes(file, Depth.LAYOUT)
    (finding,) = findings(file)
    assert finding.code == "SL002"
    assert f"block {offset // BLOCK} " in finding.message
    assert finding.tensor == name


def test_damage_to_a_header_is_damage(file):
    data = file.read_bytes()
    at = data.index(b'"format":"pt"') + 10
    flip(file, at)
    assert codes(file) == {"SL002"}


def test_a_flipped_bit_in_a_shard_is_found(directory):
    shard = sorted(directory.glob("*.safetensors"))[-1]
    flip(shard, shard.stat().st_size - 1)
    (finding,) = findings(directory)
    assert (finding.code, finding.path, finding.tensor) == ("SL002", shard.name, "c")


def test_a_sealed_file_that_is_missing_is_found(directory):
    """SL003"""
    shard = sorted(directory.glob("*.safetensors"))[0]
    shard.unlink()
    assert "SL003" in codes(directory, Depth.LAYOUT)


def test_a_file_that_came_later_is_found(directory):
    """SL004"""
    (directory / "notes.txt").write_text("hello")
    (finding,) = findings(directory, Depth.LAYOUT)
    assert (finding.code, finding.path, finding.severity.name) == ("SL004", "notes.txt", "WARNING")


@pytest.mark.parametrize("damage", [b"", b"{", b'{"schema": "ckpt/seal@9"}', b"\xff"])
def test_a_seal_that_cannot_be_read_is_found(file, directory, damage):
    """SL005"""
    file.with_name("m.safetensors.ckpt.json").write_bytes(damage)
    (directory / "ckpt.manifest.json").write_bytes(damage)
    assert codes(file, Depth.LAYOUT) == codes(directory, Depth.LAYOUT) == {"SL005"}


def test_digests_that_are_missing_or_cut_short_are_found(directory):
    blocks = directory / "ckpt.blocks"
    blocks.write_bytes(blocks.read_bytes()[:-1])
    assert codes(directory, Depth.LAYOUT) == {"SL005"}
    blocks.unlink()
    assert codes(directory, Depth.LAYOUT) == {"SL005"}


def test_every_flipped_bit_of_a_seal_is_noticed_or_harmless(file):
    """A seal never vouches for what it did not see: whatever is changed in it, sound data is not taken for sealed."""
    seal = file.with_name("m.safetensors.ckpt.json")
    text = seal.read_bytes()
    document = json.loads(text)
    blocks = text.index(document["files"]["m.safetensors"]["blocks"].encode())
    for offset in range(blocks, blocks + 40, 7):
        seal.write_bytes(text)
        flip(seal, offset)
        assert codes(file) & {"SL002", "SL005"}, offset
