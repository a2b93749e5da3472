"""The example with Accelerate is exact after a kill."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.training.integrations.running import runs_of

pytestmark = pytest.mark.skipif(find_spec("accelerate") is None, reason="accelerate is not installed")
runs = runs_of(Path(__file__).with_name("accelerate_runs.py"))

STEPS_AN_EPOCH = 11
KILLS = {"middle of epoch 1": 4, "its end": STEPS_AN_EPOCH, "epoch 2": 15}
WORKERS = [(0, 0, "middle of epoch 1"), (2, 0, "its end"), (0, 2, "epoch 2")]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    jobs = {
        f"{before} {after}": [{"kill": ["step", KILLS[stop]], "workers": before}, {"workers": after}]
        for before, after, stop in WORKERS
    }
    jobs |= {"whole": [{}], "prepared": [{"refused": [{"prepared": True}]}]}
    return runs(tmp_path_factory.mktemp("accelerate"), jobs)


@pytest.mark.parametrize(("before", "after", "stop"), WORKERS)
def test_a_loop_with_accelerate_goes_on_bit_for_bit(before, after, stop, answers):
    answer, whole = answers[f"{before} {after}"], answers["whole"]["result"]
    assert answer["ends"] == ["killed", "result"], answer
    losses = answer["result"].pop("losses")
    assert losses == {step: loss for step, loss in whole["losses"].items() if int(step) >= KILLS[stop]}
    assert answer["result"] == {name: value for name, value in whole.items() if name != "losses"}


def test_a_loader_that_accelerate_prepared_is_refused(answers):
    assert "a DataLoaderShard keeps a position of its own" in answers["prepared"]["refusals"][0]
