"""A local tier first, and uploads in the background: nothing pending is lost, and the newest is found in either."""

import logging
import shutil
import threading
import uuid

import pytest
import torch

from ckpt_core.errors import AmbiguousRunError, CkptError, NoAnswerError, UnsupportedFormatError, UsageError
from ckpt_core.training import Checkpointer, Keep, state_dict
from ckpt_core.training.tiers import uploads
from ckpt_core.training.tiers.run_store import RunStore
from ckpt_core.verbs.verify import verify


@pytest.fixture
def url():
    return f"memory://{uuid.uuid4().hex}/run"


def model(value):
    made = torch.nn.Linear(2, 2)
    with torch.no_grad():
        made.weight.fill_(value)
    return made


def here(run):
    return sorted(path.name for path in run.iterdir() if not path.name.startswith("."))


class Gate:
    """Holds up every copy until it is let through."""

    def __init__(self, monkeypatch):
        self.open, self.begun, self.copied, inner = threading.Event(), threading.Event(), [], uploads.copy

        def copy(source, place, **how):
            self.begun.set()
            assert self.open.wait(120)
            inner(source, place, **how)
            self.copied.append(int(place.rpartition("-")[2]))

        monkeypatch.setattr(uploads, "copy", copy)


def test_every_save_is_uploaded_and_found_there_where_the_local_ones_are_gone(tmp_path, url):
    with Checkpointer(tmp_path / "a", model=model(1), upload_to=url) as saver:
        for step in (1, 2):
            saver.save(step, metrics={"loss": step})
    assert RunStore(url).steps() == [1, 2]
    assert verify(f"{url}/checkpoint-2", depth="bytes").report.ok
    fresh = model(0)
    with Checkpointer(tmp_path / "b", model=fresh, upload_to=url) as saver:
        resumed = saver.resume()
        assert resumed.step == 2 and resumed.location.startswith("memory://")
        assert bool((fresh.weight == 1).all())
        saver.save(3)
    assert RunStore(url).steps() == [1, 2, 3]
    assert state_dict(f"{url}/checkpoint-3", "progress")["parent"] == "checkpoint-2"
    assert state_dict(f"{url}/checkpoint-3", "progress")["attempt"] == 2


@pytest.mark.parametrize(
    ("keep", "uploaded"), [(Keep(1), {1, 4}), (Keep(1, every=2), {1, 2, 4}), (Keep(2), {1, 3, 4}), (None, {1, 2, 3, 4})]
)
def test_a_newer_save_supersedes_what_waits_and_no_rule_keeps(keep, uploaded, tmp_path, url, monkeypatch):
    gate = Gate(monkeypatch)
    with Checkpointer(tmp_path / "run", model=model(1), upload_to=url, keep=keep) as saver:
        saver.save(1)
        assert gate.begun.wait(120)
        for step in (2, 3, 4):
            saver.save(step)
        assert "checkpoint-1" in here(tmp_path / "run"), "what is being uploaded was removed"
        gate.open.set()
    assert set(RunStore(url).steps()) == uploaded
    assert gate.copied[1] == 4, "the newest goes first"


def test_what_was_pending_when_a_process_died_is_uploaded_by_the_next(tmp_path, url, monkeypatch):
    with Checkpointer(tmp_path / "run", model=model(1)) as saver:
        for step in (1, 2):
            saver.save(step)
    with Checkpointer(tmp_path / "run", model=model(1), upload_to=url) as saver:
        saver.resume()
    assert RunStore(url).steps() == [1, 2]
    gate = Gate(monkeypatch)
    gate.open.set()
    with Checkpointer(tmp_path / "run", model=model(1), upload_to=url) as saver:
        saver.resume()
    assert gate.copied == [], "what is there was copied again"


def test_a_place_that_fails_is_said_the_local_one_stays_and_the_next_save_tries_again(
    tmp_path, url, monkeypatch, caplog
):
    inner, failing = uploads.copy, [True]

    def copy(source, place, **how):
        if failing:
            raise NoAnswerError("s3://x: gone")
        return inner(source, place, **how)

    monkeypatch.setattr(uploads, "copy", copy)
    with (
        caplog.at_level(logging.WARNING),
        Checkpointer(tmp_path / "run", model=model(1), upload_to=url, keep=1) as saver,
    ):
        saver.save(1)
        with pytest.raises(NoAnswerError):
            saver._tier.wait()
        assert "TS002 checkpoint-1: was not uploaded (s3://x: gone)" in caplog.text
        failing.clear()
        saver.save(2)
    assert RunStore(url).steps() == [2] and here(tmp_path / "run")[-1] == "checkpoint-2"
    failing.append(True)
    with pytest.raises(NoAnswerError), Checkpointer(tmp_path / "run", model=model(1), upload_to=url) as saver:
        saver.resume()
        saver.save(3)


def test_two_branches_in_two_tiers_are_refused_until_one_is_named(tmp_path, url):
    with Checkpointer(tmp_path / "run", model=model(1), upload_to=url) as saver:
        for step in (1, 2, 3):
            saver.save(step)
    for step in (2, 3):
        shutil.rmtree(tmp_path / "run" / f"checkpoint-{step}")
    with Checkpointer(tmp_path / "run", model=model(1), upload_to=url) as saver:
        assert saver.resume(1).step == 1
        saver.save(2)
    assert state_dict(f"{url}/checkpoint-2", "progress")["attempt"] == 2
    with Checkpointer(tmp_path / "run", model=model(1), upload_to=url) as saver:
        with pytest.raises(AmbiguousRunError, match="checkpoint-3 and checkpoint-2 are of two branches"):
            saver.resume()
        assert saver.resume(2).step == 2


def test_another_runs_checkpoint_is_not_written_over(tmp_path, url, caplog):
    with Checkpointer(url, model=model(7)) as saver:
        saver.save(1)
    with (
        pytest.raises(CkptError, match="exists"),
        Checkpointer(tmp_path / "run", model=model(1), upload_to=url) as saver,
    ):
        saver.save(1)
    assert bool((state_dict(f"{url}/checkpoint-1")["weight"] == 7).all())


def test_arguments_that_make_no_sense_are_refused_before_step_1(tmp_path, url):
    with pytest.raises(UsageError, match=r"upload_to=: memory://\S+ is no folder to upload from"):
        Checkpointer(url, model=model(1), upload_to="s3://bucket/run")
    with pytest.raises(UnsupportedFormatError, match="read only"):
        Checkpointer(tmp_path / "run", model=model(1), upload_to="hf://someone/model")


def test_a_second_disk_is_a_tier_as_well(tmp_path):
    with Checkpointer(tmp_path / "fast", model=model(1), upload_to=str(tmp_path / "slow"), keep=1) as saver:
        saver.save(1)
        saver.save(2)
    assert here(tmp_path / "fast") == ["checkpoint-2"] and "checkpoint-2" in here(tmp_path / "slow")


def test_a_name_is_refused_where_there_are_none_and_nothing_is_saved(tmp_path, url):
    for place, reason in ((url, "has no aliases, only names"), (None, "this training is uploaded nowhere")):
        with Checkpointer(tmp_path / "run", model=model(1), upload_to=place) as saver:
            with pytest.raises(UsageError, match=rf"aliases=: .*{reason}"):
                saver.save(1, aliases=["best"])
            assert here(tmp_path / "run") == []
    assert RunStore(url).steps() == []
