"""`ckpt repair`: a plan that writes nothing, a copy, a change in place and back, and an exit code for each case."""

import json
import shutil

import pytest
import torch

from ckpt_core.verbs.save import save
from ckpt_core.verbs.seal import seal

INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A sealed model directory of two shards."""
    folder = tmp_path_factory.mktemp("repair") / "d"
    weights = {f"{name}.weight": torch.arange(200.0) for name in "ab"}
    save(weights, str(folder), format="hf", options={"max_shard_size": "1KB"})
    (folder / "config.json").write_text("{}")
    seal(str(folder), force=True)
    return folder


@pytest.fixture
def place(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "d")


@pytest.fixture
def broken(place):
    (place / INDEX).write_bytes(b"{")
    return place


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def result(done):
    return json.loads(done.out)["result"]


def test_nothing_to_repair_is_said_and_is_0(ckpt, place):
    for more in ((), ("--apply", "--in-place"), ("--apply", "--output", place.parent / "out")):
        done = ckpt("repair", place, *more)
        assert (done.code, done.out) == (0, f"{place}: nothing to repair\n")
    assert names(place.parent) == ["d"]


def test_a_plan_is_shown_and_is_1(ckpt, broken):
    before = names(broken)
    done = ckpt("repair", broken)
    assert done.code == 1
    assert f"write   {INDEX}  make the index again from the headers of 2 files: 2 tensors  yes" in done.out
    assert "nothing was written" in done.out
    assert names(broken) == before and (broken / INDEX).read_bytes() == b"{"


def test_a_copy_is_repaired_and_the_original_is_not(ckpt, broken):
    out = broken.parent / "out"
    done = ckpt("repair", broken, "--apply", "--output", out)
    assert done.code == 0 and f"{out}: a repaired copy, verifies as ok, was error" in done.out
    assert ckpt("verify", out, "--depth", "bytes").code == 0
    assert ckpt("verify", broken).code == 4
    assert ckpt("repair", broken, "--apply", "--output", out).code == 9
    assert ckpt("repair", broken, "--apply", "--output", out, "--force").code == 0


def test_in_place_and_back(ckpt, broken):
    before = names(broken)
    done = ckpt("repair", broken, "--apply", "--in-place")
    assert done.code == 0 and ".ckpt-backup-1: what was replaced" in done.out
    assert ckpt("verify", broken, "--depth", "bytes").code == 0
    assert ckpt("repair", broken, "--apply", "--in-place").out == f"{broken}: nothing to repair\n"
    done = ckpt("repair", broken, "--undo")
    assert (done.code, done.out) == (0, f"{broken}: as it was before the repair ({INDEX})\n")
    assert names(broken) == before and (broken / INDEX).read_bytes() == b"{"
    assert ckpt("repair", broken, "--undo").code == 3


def test_what_cannot_be_repaired_is_said_with_the_reason_and_is_4(ckpt, place):
    (place / "model-00002-of-00002.safetensors").unlink()
    for more in ((), ("--apply", "--in-place")):
        done = ckpt("repair", place, *more)
        assert done.code == 4
        assert "cannot be repaired  HF001 model-00002-of-00002.safetensors: what it held is in no" in done.out


def test_what_is_lost_is_lost_only_where_that_is_accepted(ckpt, place):
    stale = place / "model-00001-of-00007.safetensors"
    shutil.copy(place / "model-00001-of-00002.safetensors", stale)
    done = ckpt("repair", place)
    assert done.code == 0 and "no: needs --accept-loss" in done.out
    assert "nothing to repair without --accept-loss" in done.out
    ckpt("repair", place, "--apply", "--in-place")
    assert stale.exists()
    ckpt("repair", place, "--apply", "--in-place", "--accept-loss")
    assert not stale.exists()


def test_the_depth_decides_what_is_found(ckpt, place):
    for name in ("ckpt.manifest.json", "ckpt.blocks"):
        (place / name).write_bytes(b"{")
    assert ckpt("repair", place).code == 4
    assert ckpt("repair", place, "--depth", "bytes").code == 1


def test_a_copy_with_damage_is_refused_and_the_advice_works(ckpt, broken):
    shard = broken / "model-00002-of-00002.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    to = ("--apply", "--output", broken.parent / "out")
    done = ckpt("repair", broken, *to)
    assert done.code == 4 and f"{shard.name}: block 0" in done.err and "b.weight" in done.err
    assert "--accept-damage" in done.err and names(broken.parent) == ["d"]
    done = ckpt("repair", broken, *to, "--accept-damage", "--json")
    assert done.code == 4 and result(done)["tainted"] == {"model/b.weight": "damaged"}
    assert ckpt("verify", broken.parent / "out").code == 4


def test_with_a_purpose_what_was_never_saved_counts(ckpt, place):
    assert ckpt("repair", place, "--for", "inference").code == 0
    assert ckpt("repair", place, "--for", "resume").code == 4


def test_an_earlier_repair_that_was_stopped_is_said(ckpt, broken):
    ckpt("repair", broken, "--apply", "--in-place")
    (broken / ".ckpt-backup-1" / "done").unlink()
    assert "an earlier repair in place was stopped" in ckpt("repair", broken).out
    assert result(ckpt("repair", broken, "--json"))["interrupted"] is True
    assert ckpt("repair", broken, "--apply", "--in-place").code == 0
    assert names(broken).count(".ckpt-backup-1") == 1
    assert result(ckpt("repair", broken, "--json"))["interrupted"] is False


def test_json_has_the_plan_and_what_became_of_it(ckpt, broken):
    planned = result(ckpt("repair", broken, "--json"))
    (action,) = planned["actions"]
    assert (action["operation"], action["path"], action["lossless"]) == ("write", INDEX, True)
    assert (planned["before"], planned["after"], planned["applied"]) == ("error", "ok", False)
    done = json.loads(ckpt("repair", broken, "--apply", "--in-place", "--json").out)
    assert (done["schema"], done["exit"], done["findings"]) == ("ckpt/repair@1", 0, [])
    assert done["result"]["backup"] == str(broken / ".ckpt-backup-1")
    assert result(ckpt("repair", broken, "--undo", "--json"))["restored"] == [INDEX]


def test_quiet_prints_one_line(ckpt, broken):
    assert ckpt("repair", broken, "-q").out.count("\n") == 1


@pytest.mark.parametrize(
    "options",
    [
        ("--apply",),
        ("--in-place",),
        ("--output", "x"),
        ("--apply", "--in-place", "--output", "x"),
        ("--undo", "--apply", "--in-place"),
        ("--apply", "--in-place", "--force"),
        ("--apply", "--in-place", "--accept-damage"),
        ("--without", "rng"),
    ],
)
def test_options_that_do_not_go_together_are_refused(ckpt, broken, options):
    assert ckpt("repair", broken, *options).code == 2


def test_what_is_not_there_cannot_be_repaired(ckpt, tmp_path):
    assert ckpt("repair", tmp_path / "nothing").code == 3
