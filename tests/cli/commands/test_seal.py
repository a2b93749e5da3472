"""`ckpt seal`: damage shows afterwards, and no file of the checkpoint is touched."""

import json
import shutil
import subprocess

import pytest


@pytest.fixture
def mine(files, tmp_path):
    shutil.copy(files / "weights.safetensors", tmp_path / "x.safetensors")
    return tmp_path / "x.safetensors"


def test_a_flipped_bit_is_found_after_sealing_and_its_tensor_named(ckpt, mine):
    before = mine.read_bytes()
    assert ckpt("seal", mine).code == 0 and mine.read_bytes() == before
    assert ckpt("verify", mine, "--depth", "bytes").code == 0
    mine.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    done = ckpt("verify", mine, "--depth", "bytes")
    assert done.code == 4 and "SL002" in done.out and "norm.weight" in done.out and "embed.weight" not in done.out


def test_a_seal_is_replaced_only_by_force(ckpt, mine, files):
    ckpt("seal", mine)
    done = ckpt("seal", mine)
    assert done.code == 9 and "is sealed already" in done.err
    shutil.copy(files / "changed.safetensors", mine)
    assert ckpt("verify", mine).code == 4
    assert ckpt("seal", mine, "--force").code == 0 and ckpt("verify", mine, "--depth", "bytes").code == 0


def test_sha256_sums_are_checked_by_sha256sum_alone(ckpt, mine):
    done = ckpt("seal", mine, "--sha256", "--json")
    name = json.loads(done.out)["result"]["sha256_sums"]
    assert subprocess.run(["sha256sum", "--status", "-c", name], cwd=mine.parent).returncode == 0
    mine.write_bytes(mine.read_bytes()[:-1] + b"x")
    assert subprocess.run(["sha256sum", "--status", "-c", name], cwd=mine.parent).returncode == 1


@pytest.mark.parametrize("sha256", [False, True])
def test_each_pass_over_the_bytes_is_told_to_the_progress(mine, sha256):
    from ckpt_core import seal

    told = []

    class Noted:
        def begin(self, total):
            told.append(("begin", total))

        def advance(self, nbytes):
            told.append(("advance", nbytes))

    seal(str(mine), sha256=sha256, progress=Noted())
    size = mine.stat().st_size
    assert [kind for kind, _ in told].count("begin") == 1
    assert told[0] == ("begin", size * (1 + sha256))
    assert sum(count for kind, count in told if kind == "advance") >= size * sha256 + 56


def test_without_the_flag_there_are_no_sums(ckpt, mine):
    assert json.loads(ckpt("seal", mine, "--json").out)["result"]["sha256_sums"] is None
    assert sorted(path.name for path in mine.parent.iterdir()) == ["x.safetensors", "x.safetensors.ckpt.json"]


def test_quiet_prints_the_place(ckpt, mine):
    assert ckpt("seal", mine, "-q").out == f"{mine}\n"


def test_what_is_not_there_cannot_be_sealed(ckpt, tmp_path):
    assert ckpt("seal", tmp_path / "nothing.pth").code == 3
