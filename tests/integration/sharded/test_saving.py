"""`save` at several ranks: each writes what it holds, once, and one of them commits. One start of torchrun for all."""

import json
from pathlib import Path

import pytest
import torch

from ckpt_core.verbs.load import load
from ckpt_core.verbs.verify import verify
from tests.integration.test_torchrun import torchrun

CHILD = Path(__file__).with_name("saving_child.py")
RANKS = 4


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder that four ranks saved into, and what each found."""
    folder = tmp_path_factory.mktemp("sharded")
    done = torchrun(RANKS, CHILD, folder)
    assert done.returncode == 0, done.stderr
    return folder, [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(RANKS)]


def test_every_rank_writes_its_boxes_and_stock_dcp_loads_them(saved):
    _, found = saved
    files = [".metadata", *(f"__{rank}_0.distcp" for rank in range(RANKS))]
    assert [one["fsdp2"] for one in found] == [[True, 16, files]] * RANKS


def test_what_was_saved_is_sealed_and_read_back_bit_for_bit(saved):
    folder, _ = saved
    checkpoint = load(str(folder / "fsdp2"))
    report = verify(checkpoint, depth="values").report
    assert report.ok and not report.findings
    whole = torch.load(folder / "fsdp2.pt")
    for name, tensor in whole.items():
        assert bytes(checkpoint.read("model", name)) == tensor.numpy().tobytes(), name
    assert checkpoint.component("progress").state == {"step": 3}


def test_replicas_are_written_once(saved):
    _, found = saved
    elements = (4096 + 10 + (1 << 20)) * 4
    assert all(elements <= one["replicas"] < elements + 32768 for one in found)


def test_what_cannot_be_saved_is_the_same_line_at_every_rank(saved):
    folder, found = saved
    for one in found:
        assert "format='dcp', and turn that into hf with ckpt convert" in one["errors"]["hf"]
        assert "rank 0 has" in one["errors"]["other option"] and "rank 1" in one["errors"]["other option"]
        assert "rank 1 has another one than rank 0 (progress.step)" in one["errors"]["other value"]
        assert "exists; choose another place" in one["errors"]["exists"]
    assert not (folder / "refused").exists()
    assert not [path for path in folder.iterdir() if "ckpt-stage" in path.name]


def test_tensors_that_every_rank_has_are_saved_in_any_format(saved):
    folder, found = saved
    assert [one["whole"] for one in found] == [1] * RANKS
    assert load(str(folder / "whole.safetensors")).read("model", "w").nbytes == 48
