"""A sharded training whose checkpoints are in a store, or are uploaded to one: one start of two ranks for all."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ckpt_core.errors import CkptError
from ckpt_core.storage.objects.open_store import open_store
from ckpt_core.verbs.load import load
from ckpt_core.verbs.moving.clean import clean
from ckpt_core.verbs.verify import verify

CHILD = Path(__file__).with_name("store_training_child.py")
RANKS = 2


@pytest.fixture
def trained(run_maker_script, s3, tmp_path):
    run_maker_script(CHILD, tmp_path, s3.url, ranks=RANKS)
    return s3.url, [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(RANKS)]


def under_way(url):
    """What is left of work in a store: objects of ours that no seal stands for, and uploads."""
    store, key = open_store(url)
    marked = [one.key for one in store.find(f"{key}/") if "/.ckpt-" in one.key or ".run." in one.key]
    return marked, list(store.uploads(f"{key}/"))


def test_ranks_train_with_their_checkpoints_in_a_store(trained):
    url, found = trained
    assert [one["in_a_store"] for one in found] == [[2, 2.0]] * RANKS
    for name in ("plain", "background"):
        there = load(f"{url}/{name}/checkpoint-3")
        assert sorted(there.files.entries) == [".metadata", "__0_0.distcp", "__1_0.distcp"]
        assert verify(there, depth="bytes").report.ok and verify(f"{url}/{name}/checkpoint-2", depth="bytes").report.ok
        assert not list(open_store(url)[0].find(f"{open_store(url)[1]}/{name}/checkpoint-1/"))
    for rank, message in enumerate(one["not_replaced"] for one in found):
        assert "checkpoint-2" in message and message.startswith("rank 0: " if rank else "s3://"), message
    assert load(f"{url}/others/checkpoint-2").component("model").tensors.keys() == {"theirs"}
    assert [one["uploaded"] for one in found] == [[2, 2.0]] * RANKS
    assert verify(f"{url}/uploaded/checkpoint-1", depth="bytes").report.ok
    assert under_way(url) == ([], [])


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("who", [0, 3])
def test_a_rank_that_is_killed_at_any_call_of_a_store_leaves_nothing_that_counts(who, s3):
    points = 10
    command = [sys.executable, str(CHILD.with_name("store_dying_child.py")), s3.url, str(who), str(points)]
    environment = {**os.environ, **s3.env, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr
    first, *found, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one[0] for one in first] == [one[0] for one in last] == [""] * 4
    assert len(found) == points <= first[who][1], "each at another call"
    for number, ranks in enumerate(found):
        url, left = f"{s3.url}/{number}", [one for one in ranks if one is not None]
        assert len(left) == 3, "all others come to an end"
        assert verify(f"{url}/checkpoint-1", depth="bytes").report.ok
        if number == points - 1:  # saved again behind it, over what was there
            assert is_committed(f"{url}/checkpoint-2")
            continue
        committed = is_committed(f"{url}/checkpoint-2")
        assert committed or all(f"rank {who} has given no sign of life" in one[0] for one in left), left
        clean(url, apply=True)
        assert under_way(url) == ([], [])
        assert is_committed(f"{url}/checkpoint-2") == committed


def is_committed(url):
    """Whether something counts at a place; every byte of it is proved then."""
    try:
        checkpoint = load(url)
    except CkptError:
        return False
    assert verify(checkpoint, depth="bytes").report.ok
    return True
