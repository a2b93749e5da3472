"""The newest complete checkpoint of a place: by content, with every newer one that was passed over and why."""

import os

import pytest
import torch

import ckpt_core
from ckpt_core import Query
from ckpt_core.errors import AmbiguousRunError, IncompleteError
from ckpt_core.schema.roles import Profile

OPTIMIZER = {"state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.ones(2)}}, "param_groups": [{"params": [0]}]}
FULL = {"model": {"w": torch.ones(2)}, "optimizer": OPTIMIZER, "scheduler": {"last_epoch": 1}}


@pytest.fixture
def run(tmp_path):
    def make(**checkpoints):
        for name, (step, without) in checkpoints.items():
            content = {key: value for key, value in FULL.items() if key not in without}
            torch.save(content | ({} if step is None else {"step": step}), tmp_path / f"{name}.pt")
        return tmp_path

    return make


def resolve(folder, profile="resume", **more):
    return ckpt_core.locate(str(folder), profile=profile, **more)


def chosen(folder, **more):
    return os.path.basename(resolve(folder, **more).require().url)


def test_the_newest_complete_one_is_taken_and_each_newer_one_says_what_it_lacks(run):
    folder = run(step_9=(9, ()), step_10=(10, ()), step_11=(11, ("optimizer",)), step_100=(100, ("scheduler",)))
    found = resolve(folder)
    assert os.path.basename(found.require().url) == "step_10.pt"
    rejected = [a for a in found.attempts if a.outcome.value == "rejected"]
    assert [os.path.basename(a.candidate.url) for a in rejected] == ["step_100.pt", "step_11.pt"]
    assert "scheduler absent" in rejected[0].detail and "optimizer absent" in rejected[1].detail


def test_a_name_that_lies_about_its_step_does_not_win(run):
    assert chosen(run(step_900=(5, ()), step_10=(10, ()))) == "step_10.pt"


def test_the_time_of_a_file_says_nothing(run):
    folder = run(step_1=(1, ()), step_2=(2, ()))
    os.utime(folder / "step_2.pt", (0, 0))
    assert chosen(folder) == "step_2.pt"


def test_a_pointer_that_disagrees_is_reported_and_not_followed(run):
    folder = run(step_1=(1, ()), step_2=(2, ()))
    (folder / "latest").write_text("step_1.pt")
    found = resolve(folder)
    assert found.require().url.endswith("step_2.pt")
    assert found.notes == ("latest names step_1.pt; the newest complete checkpoint is step_2.pt",)


def test_a_broken_one_is_passed_over(run):
    folder = run(step_1=(1, ()), step_2=(2, ()))
    with open(folder / "step_2.pt", "r+b") as file:
        file.truncate(200)
    assert chosen(folder) == "step_1.pt"


def test_none_complete_is_an_error_that_names_the_newest(run):
    with pytest.raises(IncompleteError, match=r"no checkpoint of 2 .*step_2.pt .*optimizer absent") as caught:
        resolve(run(step_1=(1, ("scheduler",)), step_2=(2, ("optimizer",)))).require()
    assert caught.value.exit_code == 4


def test_of_several_without_a_step_none_is_guessed(run):
    states = {"a": (None, ()), "b": (None, ())}
    with pytest.raises(
        AmbiguousRunError, match=r"2 complete checkpoints .*nothing says the step: .*a\.pt; .*b\.pt; name"
    ):
        resolve(run(**states), profile="inference").require()


def test_an_empty_folder_holds_nothing(tmp_path):
    assert resolve(tmp_path).error().exit_code == 3


def test_a_trainer_gets_the_same_answer_from_the_hook(run):
    folder = run(step_1=(1, ()), step_2=(2, ("optimizer",)))
    manager = ckpt_core.get_plugin_manager()
    found = manager.hook.locate(query=Query(str(folder), profile=Profile.RESUME))
    assert found.require().url.endswith("step_1.pt")


def test_a_member_that_was_named_is_the_only_one_tried(run):
    folder = run(step_1=(1, ()), step_2=(2, ()))
    assert ckpt_core.locate(f"{folder}#step_1.pt", profile="resume").require().url.endswith("step_1.pt")
