"""Missing ranks are named as far as there is room, and counted, whatever number of ranks a name claims."""

import json

import torch
from ckpt_fsdp.ranks.missing import SHOWN, missing_of
from hypothesis import given
from hypothesis import strategies as st

import ckpt_core


@given(st.integers(0, 300), st.sets(st.integers(0, 400), max_size=300))
def test_what_is_missing_is_named_in_order_and_counted(world, present):
    every = [rank for rank in range(world) if rank not in present]
    found = missing_of(world, present)
    assert list(found.ranks) == every[:SHOWN]
    assert found.more == len(every[SHOWN:])


def test_any_number_of_ranks_costs_no_more_than_those_that_are_there():
    assert missing_of(10**18, {0, 5, 10**18}).more == 10**18 - 2 - SHOWN


def test_a_name_that_claims_ten_million_ranks_is_answered(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "model_world_size_9999999_rank_0.pt")
    report = ckpt_core.verify(str(tmp_path)).report
    missing = [finding for finding in report.findings if finding.code == "RK001"]
    assert len(missing) == SHOWN
    assert any(f"{9999998 - SHOWN} more ranks" in finding.message for finding in missing)


def test_a_trillion_ranks_in_bagels_metadata_are_answered(tmp_path):
    facts = {"checkpoint_type": "sharded", "train_steps": 1, "world_size": 10**12}
    (tmp_path / "metadata.json").write_text(json.dumps(facts))
    torch.save({"a": torch.ones(2)}, tmp_path / "model_rank00000.pt")
    assert ckpt_core.verify(str(tmp_path)).report.findings


def test_bagels_metadata_that_is_no_object_is_unreadable_and_not_absent(tmp_path):
    (tmp_path / "metadata.json").write_text("[]")
    torch.save({"a": torch.ones(2)}, tmp_path / "model_rank00000.pt")
    found = {finding.path: finding.code for finding in ckpt_core.verify(str(tmp_path)).report.findings}
    assert found["metadata.json"] == "CK018"
