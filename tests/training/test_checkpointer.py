"""A Checkpointer in a loop: what it saves, what it goes on from, and what it refuses with everything unchanged."""

import json
import logging
import shutil
import warnings
from datetime import timedelta

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import ckpt_core
from ckpt_core.errors import (
    AmbiguousRunError,
    CheckpointNotFoundError,
    CkptError,
    CorruptError,
    IncompleteError,
    LoadInterruptedError,
    LoadRefusedError,
    LockedError,
    OverwriteError,
    UsageError,
)
from ckpt_core.training import Checkpointer, Keep, state_dict
from tests.training.small_training import checkpointer, differing, training


@pytest.fixture
def run(tmp_path):
    """The folder of a run with checkpoints 1 to 3."""
    made = training()
    with checkpointer(tmp_path / "run", made, save_every=1) as saver:
        made.run(3, saver)
    return tmp_path / "run"


def names(run):
    return sorted(path.name for path in run.iterdir() if not path.name.startswith("."))


def flip(place, name="model.safetensors"):
    data = bytearray((place / name).read_bytes())
    data[-3] ^= 4
    (place / name).write_bytes(data)


def refused(run, made, error, match, **how):
    """A resume that fails leaves every object as it was, generators too."""
    before = made.state()
    with checkpointer(run, made) as saver, pytest.raises(error, match=match) as caught:
        saver.resume(**how)
    assert differing(made.state(), before) == []
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_checkpoint_is_complete_sealed_and_opens_in_other_tools(run):
    found = ckpt_core.verify(str(run / "checkpoint-3"), depth="values", profile="exact-resume")
    assert found.report.assessment.verdict.value == "COMPLETE"
    assert [f for f in found.report.findings if f.severity.name != "INFO"] == []
    assert set(load_file(run / "checkpoint-3" / "model.safetensors")) == set(training().model.state_dict())
    progress = state_dict(run / "checkpoint-3", "progress")
    assert (progress["global_step"], progress["epoch"], progress["parent"]) == (3, 0, "checkpoint-2")
    assert progress["history"].keys() == {1, 2, 3}
    assert progress["best"]["loss"]["least"] == min(entry["loss"] for entry in progress["history"].values())
    assert state_dict(run / "checkpoint-3", "config:training")["versions"]["torch"] == torch.__version__
    assert str(ckpt_core.locate(str(run), profile="exact-resume").location).endswith("checkpoint-3")


def test_a_run_without_checkpoints_begins_at_step_0_unless_one_is_required(tmp_path):
    made = training()
    before = made.state()
    with checkpointer(tmp_path / "run", made) as saver:
        resumed = saver.resume()
        assert (resumed.step, resumed.location) == (0, None)
        with pytest.raises(CheckpointNotFoundError, match="no checkpoint-STEP is there"):
            saver.resume("required")
    assert differing(made.state(), before) == []


def test_foreign_folders_are_nobodys_business(run):
    for name in ("checkpoint-final", "checkpoint-007", "hf_0000006", ".ipynb_checkpoints", "logs"):
        (run / name).mkdir()
        (run / name / "notes.txt").write_text("mine")
    made = training()
    with checkpointer(run, made, save_every=1, keep=1) as saver:
        assert saver.resume().step == 3
        made.step = 3
        made.run(4, saver)
    assert "checkpoint-4" in names(run) and "checkpoint-3" not in names(run)
    assert {"checkpoint-final", "checkpoint-007", "hf_0000006", "logs"} <= set(names(run))


def test_a_broken_newest_one_is_passed_over_and_said(run, caplog):
    flip(run / "checkpoint-3")
    (run / "checkpoint-2" / "optimizer.safetensors").unlink()
    made = training(seed=5)
    with checkpointer(run, made) as saver, caplog.at_level(logging.WARNING):
        resumed = saver.resume()
    assert resumed.step == 1
    assert list(resumed.rejected) == ["checkpoint-3", "checkpoint-2"]
    assert "checkpoint-3: passed over" in caplog.text and "model.safetensors" in resumed.rejected["checkpoint-3"]
    assert "passed over checkpoint-2" in resumed.summary()


def test_what_was_passed_over_is_replaced_when_the_training_comes_there_again(run):
    flip(run / "checkpoint-3")
    made = training(seed=5)
    with checkpointer(run, made, save_every=1) as saver:
        made.step = saver.resume().step
        made.run(3, saver)
    assert ckpt_core.verify(str(run / "checkpoint-3"), depth="bytes").report.ok


@pytest.mark.parametrize("how", ["flip", "unseal", "newer", "cut"])
def test_where_none_is_whole_it_is_an_error_and_never_a_new_start(run, how):
    for step in (1, 2, 3):
        place = run / f"checkpoint-{step}"
        if how == "flip":
            flip(place, "optimizer.safetensors")
        elif how == "unseal":
            (place / "ckpt.manifest.json").unlink()
        elif how == "newer":
            text = (place / "bundle.json").read_text().replace('"version": 1', '"version": 2')
            (place / "bundle.json").write_text(text)
        else:
            (place / "rng.safetensors").write_bytes(b"")
    match = {"flip": "optimizer.safetensors", "unseal": "no seal", "newer": "upgrade ckpt-core", "cut": "rng"}[how]
    refused(run, training(seed=5), IncompleteError, rf"none of 3 checkpoints is whole: .*{match}")


def test_a_step_or_a_path_can_be_named(run, tmp_path):
    made = training(seed=5)
    with checkpointer(run, made) as saver:
        assert saver.resume(2).step == 2
        assert saver.resume(run / "checkpoint-1").step == 1
    flip(run / "checkpoint-2")
    refused(run, training(seed=5), CorruptError, r"checkpoint-2: .*model\.safetensors", policy=2)
    refused(run, training(seed=5), CkptError, "checkpoint-9", policy=9)


OTHERS = {
    "another architecture": (lambda: training(width=6, seed=5), r"another architecture: .*3\.weight is \[3, 8\] there"),
    "another seed of the data": (lambda: training(data_seed=8), "seed is 8 here and was 7"),
    "another number of samples": (training, "samples is 21 here and was 22"),
    "another class of schedule": (training, "of a CosineAnnealingLR, and the training has a StepLR"),
    "another class of optimizer": (training, "of a AdamW, and the training has a NAdam"),
    "a part that was not saved": (training, "no component progress:router"),
    "another learning rate": (
        lambda: training(lr=5e-3),
        "is 0.01, the optimizer's is 0.005; say which counts with lr=",
    ),
}


class Router:
    def state_dict(self):
        return {"maturity": torch.zeros(2)}

    def load_state_dict(self, state):
        raise AssertionError("nothing must be filled")


@pytest.mark.parametrize("what", OTHERS)
def test_what_does_not_fit_is_refused_before_any_step_and_nothing_changes(run, what):
    made, match = OTHERS[what][0](), OTHERS[what][1]
    more = {}
    if what == "another architecture":
        made.model[3] = nn.Linear(8, 4)
        made.optimizer = torch.optim.AdamW(made.model.parameters(), lr=1e-2)
        made.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(made.optimizer, 20)
    elif what == "another number of samples":
        made.loader._sampler.length = 21
    elif what == "another class of schedule":
        made.scheduler = torch.optim.lr_scheduler.StepLR(made.optimizer, 3)
    elif what == "another class of optimizer":
        made.optimizer = torch.optim.NAdam(made.model.parameters(), lr=1e-2)
    elif what == "a part that was not saved":
        more = {"router": Router()}
    before = made.state()
    with checkpointer(run, made, **more) as saver, pytest.raises(LoadRefusedError, match=match):
        saver.resume()
    assert differing(made.state(), before) == []


def rates_of(made, steps):
    found = []
    for _ in range(steps):
        made.run(made.step + 1)
        found.append(made.optimizer.param_groups[0]["lr"])
    return found


@pytest.mark.parametrize(("lr", "factor"), [("checkpoint", 1.0), ("argument", 0.5)])
def test_the_learning_rate_that_was_said_counts(run, lr, factor):
    plain, made = training(), training(lr=5e-3)
    plain.run(3)
    with checkpointer(run, made) as saver:
        resumed = saver.resume(lr=lr)
    made.step = resumed.step
    assert any("learning rate" in change for change in resumed.changed)
    assert rates_of(made, 4) == pytest.approx([factor * rate for rate in rates_of(plain, 4)])


def test_settings_that_the_checkpoint_overrides_are_said(run):
    made = training()
    made.optimizer.param_groups[0]["weight_decay"] = 0.5
    with checkpointer(run, made) as saver:
        resumed = saver.resume()
    assert resumed.changed == ("optimizer group 0: weight_decay 0.01, of the checkpoint (the other one is 0.5)",)


def test_a_training_that_is_over_is_an_error_and_no_success(run):
    refused(run, training(seed=5), UsageError, r"step 3 ≥ max_steps=3: nothing would run", max_steps=3)


def test_a_smaller_batch_goes_on_behind_the_last_sample_and_is_said(run):
    made = training(batch_size=2)
    with checkpointer(run, made) as saver:
        resumed = saver.resume()
    assert any("batch_size was 4 and is 2" in change for change in resumed.changed)


def test_what_nothing_was_given_for_is_said(run):
    made = training()
    with Checkpointer(run, model=made.model) as saver:
        resumed = saver.resume()
    assert set(resumed.unused) == {"optimizer", "scheduler", "ema", "sampler"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_saved_unless_it_is_asked_for(run, value):
    made = training()
    with checkpointer(run, made) as saver:
        saver.resume()
        with torch.no_grad():
            made.model[0].weight[1, 2] = value
        with pytest.raises(CorruptError, match=r"model, 0\.weight: .* at step 4; nothing was saved") as caught:
            saver.save(4)
        assert caught.value.code == "TR001"
        with torch.no_grad():
            made.model[0].weight[1, 2] = 0
        saver.save(4)
    assert names(run) == ["checkpoint-1", "checkpoint-2", "checkpoint-3", "checkpoint-4"]


@pytest.mark.parametrize("value", ["low", None, [1.0], torch.zeros(2), True])
def test_a_metric_that_is_no_number_is_refused_and_nothing_is_saved(tmp_path, value):
    made = training()
    with checkpointer(tmp_path / "run", made) as saver:
        with pytest.raises(UsageError, match=r"metrics=: loss is .* a number is needed"):
            saver.save(1, metrics={"loss": value})
        saver.save(1, metrics={"loss": torch.tensor(2.5), "nan": float("nan")})
    assert state_dict(tmp_path / "run" / "checkpoint-1", "progress")["metrics"]["loss"] == 2.5


def test_a_loader_whose_order_cannot_be_had_again_is_refused_before_step_1(tmp_path):
    made = training()
    with pytest.raises(UsageError, match=r"loader=: a DataLoader has no state_dict.*KeyedLoader"):
        checkpointer(tmp_path / "run", made, loader=torch.utils.data.DataLoader([1, 2]))


def test_two_trainings_do_not_write_to_one_folder(run):
    first, second = training(), training(seed=3)
    with checkpointer(run, first) as one:
        one.resume()
        with pytest.raises(LockedError), checkpointer(run, second) as other:
            other.resume()
    with checkpointer(run, second) as other, pytest.raises(OverwriteError, match=r"call resume\(\) before"):
        other.save(1)
    with checkpointer(run, first) as one:
        one.resume()
        shutil.copytree(run / "checkpoint-3", run / "checkpoint-8")
        with pytest.raises(OverwriteError, match="checkpoint-8: appeared while"):
            one.save(4)
    assert ckpt_core.verify(str(run / "checkpoint-3"), depth="bytes").report.ok


def test_checkpoints_of_two_runs_are_told_apart(run, tmp_path):
    made = training(seed=3)
    with checkpointer(tmp_path / "other", made, save_every=5) as saver:
        made.run(5, saver)
    shutil.copytree(tmp_path / "other" / "checkpoint-5", run / "checkpoint-5")
    refused(run, training(seed=5), AmbiguousRunError, "checkpoint-5 and checkpoint-3 are of two runs; name the step")
    with checkpointer(run, training(seed=5)) as saver:
        assert saver.resume(3).step == 3


def test_two_branches_of_a_run_are_told_apart(run):
    made = training(seed=5)
    with checkpointer(run, made, save_every=2) as saver:
        made.step = saver.resume(1).step
        made.run(2, saver)
    refused(run, training(seed=5), AmbiguousRunError, "two branches: attempt 1 and the later attempt 2")


KEPT = {
    "all": (None, [1, 2, 3, 4, 5, 6]),
    "the last": (1, [6]),
    "the last two": (2, [5, 6]),
    "every third": (Keep(last=1, every=3), [3, 6]),
    "the best": (Keep(last=1, best="loss"), [2, 6]),
    "the greatest": (Keep(last=1, best="+loss"), [4, 6]),
    "a metric that nobody saved": (Keep(last=2, best="accuracy"), [5, 6]),
}


@pytest.mark.parametrize("what", KEPT)
def test_what_a_rule_keeps_stays_and_the_rest_goes(tmp_path, what):
    made = training()
    with checkpointer(tmp_path / "run", made, keep=KEPT[what][0]) as saver:
        for step, loss in enumerate([5.0, 1.0, 2.0, 9.0, float("nan"), 3.0], 1):
            saver.save(step, metrics={"loss": loss})
    assert names(tmp_path / "run") == [f"checkpoint-{step}" for step in KEPT[what][1]]


def test_a_step_that_is_saved_again_replaces_the_first(tmp_path):
    made = training()
    with checkpointer(tmp_path / "run", made, keep=1) as saver:
        saver.save(1, metrics={"loss": 1})
        saver.save(1, metrics={"loss": 2})
    assert state_dict(tmp_path / "run" / "checkpoint-1", "progress")["metrics"] == {"loss": 2.0}


@pytest.mark.parametrize(
    ("every", "saved"), [(2, [2, 4]), (None, []), (timedelta(0), [1, 2, 3, 4, 5]), (timedelta(9), [])]
)
def test_saves_come_when_they_are_due(tmp_path, every, saved):
    made = training()
    with checkpointer(tmp_path / "run", made, save_every=every) as saver:
        made.run(5, saver)
    there = names(tmp_path / "run") if (tmp_path / "run").exists() else []
    assert there == [f"checkpoint-{step}" for step in saved]


class Stubborn:
    def state_dict(self):
        return {"a": 1}

    def load_state_dict(self, state):
        raise RuntimeError("no")


def test_a_training_that_was_half_filled_saves_nothing_any_more(tmp_path):
    made = training()
    with checkpointer(tmp_path / "run", made, other=Stubborn()) as saver:
        saver.save(1)
        with pytest.raises(LoadInterruptedError):
            saver.resume()
        for call in (lambda: saver.save(2), saver.resume):
            with pytest.raises(LoadInterruptedError, match="start the process anew"):
                call()
    assert names(tmp_path / "run") == ["checkpoint-1"]


class Unwilling(Stubborn):
    def load_state_dict(self, state):
        if state["a"] == 2:
            raise RuntimeError("no")


def test_one_object_that_refuses_leaves_all_as_they_were(tmp_path):
    class Saved(Unwilling):
        def state_dict(self):
            return {"a": 2}

    with checkpointer(tmp_path / "run", training(), other=Saved()) as saver:
        saver.save(1)
    made, other = training(seed=5), Unwilling()
    other.__class__ = type("Saved", (Unwilling,), {})
    before = made.state()
    with checkpointer(tmp_path / "run", made, other=other) as saver:
        with pytest.raises(LoadRefusedError, match="it is as it was"):
            saver.resume()
        assert differing(made.state(), before) == []
        saver.save(2)


def test_a_compiled_or_parallel_model_is_saved_under_its_own_names(tmp_path):
    made = training()
    parallel = nn.DataParallel(made.model)
    with Checkpointer(tmp_path / "run", model=parallel) as saver:
        saver.save(1)
    assert set(load_file(tmp_path / "run" / "checkpoint-1" / "model.safetensors")) == set(made.model.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of parts of it that it imports here
        compiled = torch.compile(training(seed=5).model)
    with Checkpointer(tmp_path / "run", model=compiled) as saver:
        assert saver.resume().step == 1


@pytest.mark.parametrize("how", [{"save_every": 0}, {"save_every": "1"}, {"finite": "maybe"}, {"keep": -1}, {"x": 3}])
def test_arguments_are_checked_before_anything_is_done(tmp_path, how):
    with pytest.raises(UsageError):
        checkpointer(tmp_path / "run", training(), **how)
    assert not (tmp_path / "run").exists()


def test_an_object_of_ones_own_comes_back_under_its_name(tmp_path):
    class Owner:
        def __init__(self, values):
            self.values = values

        def state_dict(self):
            return self.values

        def load_state_dict(self, state):
            self.values = state

    saved, loaded = (
        Owner({"maturity": torch.arange(3.0), "skills": ["a", "b"]}),
        Owner({"maturity": torch.zeros(1), "skills": []}),
    )
    made = training()
    with checkpointer(tmp_path / "run", made, router=saved) as saver:
        saver.save(1)
    with checkpointer(tmp_path / "run", made, router=loaded) as saver:
        saver.resume()
    assert loaded.values["maturity"].equal(saved.values["maturity"]) and loaded.values["skills"] == ["a", "b"]
    assert json.loads((tmp_path / "run" / "checkpoint-1" / "progress.router.state.json").read_text())


def test_nothing_goes_for_one_that_is_not_what_was_committed(tmp_path, caplog, monkeypatch):
    made, run = training(), tmp_path / "run"
    with checkpointer(run, made, keep=1) as saver:
        saver.save(1)
        inner = saver._retention.committed

        def committed(step):
            inner(step)
            if step == 2:
                flip(run / "checkpoint-2")

        monkeypatch.setattr(saver._retention, "committed", committed)
        with caplog.at_level(logging.WARNING):
            saver.save(2)
        assert "TS001" in caplog.text and "model.safetensors: block 0" in caplog.text
        assert names(run) == ["checkpoint-1", "checkpoint-2"]
        saver.save(3)
        assert names(run) == ["checkpoint-3"]
    with checkpointer(run, training(seed=5)) as saver:
        assert saver.resume("required").step == 3
