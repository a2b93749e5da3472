"""A rank that is killed, or stops, at any call of a save: the others learn of it, and what was committed stays."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ckpt_core.verbs.load import load
from ckpt_core.verbs.verify import verify

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

CHILD = Path(__file__).with_name("dying_child.py")
RANKS = 4


def found_by(folder, who, points):
    command = [sys.executable, str(CHILD), str(folder), str(who), str(points)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("who", [0, 3])
def test_a_rank_that_is_killed_at_any_call_leaves_whole_checkpoints(who, tmp_path):
    first, *points, last = found_by(tmp_path, who, 20)
    assert [one[0] for one in first] == [one[0] for one in last] == [""] * RANKS
    assert len(points) == 20
    for found, named in points:
        left = [one for one in found if one is not None]
        assert len(left) == RANKS - 1, "all others come to an end"
        for message, _, seconds in left:
            assert named or f"rank {who} has given no sign of life" in message, message
            assert seconds < 60
    for place in (*tmp_path.glob("checkpoint-*"), *tmp_path.glob("kept-*")):
        assert verify(str(place), depth="bytes").report.ok, place
    assert load(str(tmp_path / "checkpoint-1")).component("progress").state == {"step": 1}
    assert not [path for path in tmp_path.iterdir() if "stage" in path.name]


def test_a_rank_that_stops_midway_is_named_by_the_others(tmp_path):
    _, found = found_by(tmp_path, 2, 0)
    assert found[2] is None and not (tmp_path / "checkpoint-2").exists()
    assert all("rank 2 has given no sign of life for 8 s" in one[0] for one in found if one is not None)
