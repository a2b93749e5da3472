"""Every way that torch spreads a model over ranks, saved and gone on with: makers/live_save.py, in one start."""

import json

import pytest

from ckpt_core import load, verify

pytestmark = pytest.mark.long

RANKS = 4
WAYS = ("fsdp2", "hsdp", "tensor-parallel", "both", "ddp", "fsdp1", "fsdp1-orig", "fsdp1-hybrid")
OVERHEAD = 160 << 10
"""Bytes of the zips around some dozens of tensors in as many boxes as there are ranks."""


@pytest.fixture(scope="module")
def saved(made):
    folder = made("live_save.py", RANKS)
    return folder, [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(RANKS)]


@pytest.mark.parametrize("way", WAYS)
def test_it_is_saved_once_read_by_stock_torch_and_exactly_gone_on_with(saved, way):
    folder, found = saved
    stored = load(folder / way)
    elements = sum(info.nbytes for part in stored.manifest.components for _, info in part.tensors.infos())
    for read, nbytes, step, losses, state in (one[way] for one in found):
        assert read and elements <= nbytes < elements + OVERHEAD
        assert (step, losses, state) == (2, True, True)
    assert verify(stored, depth="bytes").report.ok
    assert verify(folder / f"run-{way}" / "checkpoint-2", depth="bytes").report.ok


@pytest.mark.parametrize("way", ["fsdp2", "fsdp1", "fsdp1-orig"])
def test_each_rank_writes_its_own_share(saved, way):
    files = load(saved[0] / f"run-{way}" / "checkpoint-2").files
    sizes = [files.size(f"__{rank}_0.distcp") for rank in range(RANKS)]
    assert max(sizes) < 0.4 * sum(sizes), "torch deals out rows, and flat parameters, about alike"


def test_flat_parameters_saved_before_the_first_step_begin_with_it(saved):
    for first, second in (one["before a step"] for one in saved[1]):
        assert first == second and first[0] == 0, "no state of the optimizer was made by saving it"


@pytest.mark.parametrize("ways", ["fsdp1 onto fsdp2", "fsdp2 onto fsdp1", "both onto hsdp"])
def test_another_way_goes_on_with_the_same_numbers(saved, ways):
    for (step, losses), (own_step, own) in (one[ways] for one in saved[1]):
        assert step == own_step == 2 and losses == pytest.approx(own, rel=1e-4), "but for the order of sums"
