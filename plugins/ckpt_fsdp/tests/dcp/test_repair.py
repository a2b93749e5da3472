"""What can be made again of a sharded checkpoint: its metadata from another copy of it, its pointer from its tags."""

import os
import shutil

import pytest
import torch
import torch.distributed.checkpoint as dcp

import ckpt_core
from ckpt_core import Depth, Operation, repair, undo_repair
from ckpt_core.reading.digests import fingerprint

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


@pytest.fixture
def place(made, copy_of):
    """Four tensors of five rows and columns, in the files of two ranks."""
    return copy_of(made("dcp_save.py", 2) / "placed")


@pytest.fixture
def apart(made, copy_of):
    """The same, each rank with a metadata of its own."""
    return copy_of(made("dcp_save.py", 2) / "uncoordinated")


def digest(folder):
    return fingerprint(ckpt_core.load(str(folder)), "model").digest


def why_not(folder):
    """The reasons, where nothing is proposed and nothing changed."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    done = repair(str(folder), in_place=True)
    assert not done.applied and not done.after.ok
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    return " ".join(one.reason for one in done.remaining)


def test_a_save_that_stopped_before_the_last_rename_is_ended(place):
    before = digest(place)
    os.rename(place / ".metadata", place / ".metadata.tmp")
    done = repair(str(place), in_place=True)
    assert [(action.operation, action.path) for action in done.plan.actions] == [(Operation.RENAME, ".metadata")]
    assert digest(place) == before
    assert ckpt_core.verify(str(place), depth=Depth.BYTES).report.worst == 0
    assert not repair(str(place)).plan.actions
    loaded = {"rows": torch.zeros(5, 5)}
    dcp.load(loaded, checkpoint_id=str(place), no_dist=True)
    undo_repair(str(place))
    assert sorted(path.name for path in place.iterdir()) == [".metadata.tmp", "__0_0.distcp", "__1_0.distcp"]


def test_a_damaged_metadata_is_replaced_by_the_whole_one_that_a_stopped_save_left(place):
    before = digest(place)
    shutil.copy(place / ".metadata", place / ".metadata.tmp")
    (place / ".metadata").write_bytes(b"\x80\x02damaged")
    broken = (place / ".metadata").read_bytes()
    assert repair(str(place), in_place=True).applied
    assert digest(place) == before
    undo_repair(str(place))
    assert (place / ".metadata").read_bytes() == broken


def test_a_half_written_metadata_is_of_no_use(place):
    data = (place / ".metadata").read_bytes()
    (place / ".metadata").unlink()
    (place / ".metadata.tmp").write_bytes(data[: len(data) // 2])
    assert ".metadata.tmp is no metadata of these shards" in why_not(place)


@pytest.mark.parametrize("change", ["longer", "shorter", "missing", "another"])
def test_a_metadata_that_does_not_agree_with_every_shard_is_not_taken(place, change):
    os.rename(place / ".metadata", place / ".metadata.tmp")
    shard = place / "__1_0.distcp"
    if change == "longer":
        shard.write_bytes(shard.read_bytes() + b"\0")
    elif change == "shorter":
        shard.write_bytes(shard.read_bytes()[:-1])
    elif change == "missing":
        shard.unlink()
    else:
        shutil.copy(shard, place / "__2_0.distcp")
    assert "is no metadata of these shards" in why_not(place)


def test_a_metadata_that_is_nowhere_cannot_be_made_from_items(place):
    (place / ".metadata").unlink()
    reason = why_not(place)
    assert "hold neither the names of their tensors nor their places" in reason
    assert "dot-file" in reason and "copy it from" in reason


def test_a_hostile_metadata_of_a_stopped_save_is_not_taken(place):
    (place / ".metadata").unlink()
    (place / ".metadata.tmp").write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")
    assert "is no metadata of these shards" in why_not(place)


def test_the_metadata_of_each_rank_needs_no_other(apart):
    assert not (apart / ".metadata").exists()
    done = repair(str(apart))
    assert not done.plan.actions and done.after.ok


def test_a_damaged_metadata_beside_those_of_all_ranks_gives_way_to_them(apart):
    before = digest(apart)
    (apart / ".metadata").write_bytes(b"\x80\x02damaged")
    done = repair(str(apart), in_place=True)
    assert [(action.operation, action.path) for action in done.plan.actions] == [(Operation.REMOVE, ".metadata")]
    assert digest(apart) == before


def test_those_of_some_ranks_do_not_stand_for_all(apart):
    (apart / "__1.metadata").unlink()
    (apart / ".metadata").write_bytes(b"\x80\x02damaged")
    assert "do not stand for it" in why_not(apart)


@pytest.fixture
def root(made, tmp_path):
    """A DeepSpeed directory of three ranks with two tags and their pointer."""
    source = made("deepspeed_save.py", 3) / "stage2-bf16" / "ds"
    return shutil.copytree(source, tmp_path / "ds")


@pytest.mark.parametrize("pointer", [None, "global_step9"])
def test_a_pointer_is_written_again_where_one_tag_is_there(root, pointer):
    shutil.rmtree(root / "global_step1")
    said = (root / "latest").read_bytes()
    (root / "latest").unlink()
    if pointer:
        (root / "latest").write_text(pointer)
    done = repair(str(root), in_place=True)
    assert done.applied and done.after.worst == 0
    assert (root / "latest").read_bytes() == said == b"global_step2"


def test_of_two_whole_tags_the_newest_is_a_guess(root):
    (root / "latest").write_text("global_step9")
    (action,) = repair(str(root)).plan.withheld
    assert not action.lossless and action.data == b"global_step2"
    assert repair(str(root), in_place=True, accept_loss=True).applied
    assert (root / "latest").read_text() == "global_step2"


def test_the_only_whole_tag_of_two_leaves_no_choice(root):
    (root / "latest").write_text("global_step9")
    for path in (root / "global_step2").glob("*model_states.pt"):
        path.unlink()
    (action,) = repair(str(root)).plan.actions
    assert action.lossless and action.data == b"global_step1"


def test_without_a_whole_tag_no_pointer_helps(root):
    (root / "latest").write_text("global_step9")
    for path in root.glob("*/*model_states.pt"):
        path.unlink()
    done = repair(str(root))
    assert not done.plan.actions
    assert any("no tag directory here is whole" in one.reason for one in done.remaining)
