"""Live ranks load what other ranks, or none, have saved: each case of makers/live_load.py, in one start of torchrun."""

import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "makers" / "live_load.py"
CASES = [line.split("(")[0].removeprefix("def ") for line in SCRIPT.read_text().split("@case\n")[1:]]


@pytest.fixture(scope="session")
def outcomes(made):
    return json.loads((made("live_load.py", 4) / "outcomes.json").read_text())


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
@pytest.mark.parametrize("case", CASES)
def test_live_ranks_load(outcomes, case):
    failed = {rank: error for rank, error in enumerate(outcomes[case]) if error}
    assert not failed, "\n".join(f"rank {rank}: {error}" for rank, error in failed.items())
