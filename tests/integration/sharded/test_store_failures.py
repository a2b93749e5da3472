"""Ranks that save to a store which fails one of them: all learn of it, and what was committed stays."""

import pytest
import torch

from ckpt_core.errors import CkptError
from ckpt_core.layouts.in_memory import checkpoint_of_parts
from ckpt_core.storage.objects.open_store import open_store
from ckpt_core.storage.ranks import torchrun
from ckpt_core.verbs.load import load
from ckpt_core.verbs.save import save
from ckpt_core.verbs.verify import verify
from tests.servers import faults
from tests.storage.ranks_in_threads import in_ranks

RANKS = 4
ANY = "PUT|POST|GET|HEAD"


def saved(url, step):
    def work(ranks):
        own = {f"rng:rank-{ranks.rank}": {"own": torch.full((5 << 20,), float(step + ranks.rank))}}
        state = {"model": {"w": torch.full((9,), float(step))}, "progress": {"step": step}, **own}
        return save(checkpoint_of_parts(state), f"{url}/checkpoint-{step}", format="dcp", ranks=ranks)

    return in_ranks(RANKS, work)


def leftovers(url):
    store, root = open_store(url)
    return [one.key for one in store.find(f"{root}/checkpoint-2")], list(store.uploads(f"{root}/checkpoint-2"))


def test_ranks_save_to_a_store_and_each_puts_its_own(s3):
    done = saved(s3.url, 1)
    assert [report.files for report in done] == [done[0].files] * RANKS
    checkpoint = load(f"{s3.url}/checkpoint-1")
    assert verify(checkpoint, depth="bytes").report.ok
    assert torch.equal(checkpoint.to_torch("rng:rank-3")["own"], torch.full((5 << 20,), 4.0))


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("rank", [0, 3])
@pytest.mark.parametrize("fault", [faults.status(403, "AccessDenied"), faults.reset], ids=["refused", "reset"])
def test_a_store_that_fails_one_rank_at_any_of_its_calls_fails_all(faulty_s3, monkeypatch, fault, rank):
    url, own = faulty_s3.url, rf"__{rank}_0\.distcp"
    saved(url, 1)
    calls = len(faulty_s3.proxy.asked(ANY, own))
    assert calls >= 4, "begun, put in parts, completed, looked at"
    monkeypatch.setenv("CKPT_REMOTE_TIMEOUT", "3")
    monkeypatch.setattr(torchrun, "_BEAT", 0.05)
    for number in range(1, calls + 1):
        faulty_s3.proxy.clear()
        faulty_s3.proxy.rule(fault, method=ANY, path=own, first=number, last=None)
        failed = saved(url, 2)
        assert all(isinstance(one, CkptError) for one in failed), failed
        assert len({one.message.partition("rank ")[2].partition(": ")[2] or one.message for one in failed}) == 1, failed
        faulty_s3.proxy.clear()
        assert verify(f"{url}/checkpoint-1", depth="bytes").report.ok
    assert [report.format for report in saved(url, 2)] == ["dcp"] * RANKS
    assert verify(f"{url}/checkpoint-2", depth="bytes").report.ok
    assert not [key for key in leftovers(url)[0] if ".ckpt-" in key] and leftovers(url)[1] == []
