"""Saves that name their checkpoint: uploaded whatever comes after, and meant by the name, also after a kill."""

import os
import signal
import threading

import pytest
import torch

from ckpt_core import UsageError, load, locate
from ckpt_core.storage.listing import list_files
from ckpt_core.storage.sealing import read_seal
from ckpt_core.training import Checkpointer
from ckpt_core.training.tiers import uploads
from tests.integration.crash.os_calls import in_child


def model(value=1.0):
    made = torch.nn.Linear(2, 2)
    with torch.no_grad():
        made.weight.fill_(value)
    return made


def step_of(project, alias):
    """The step of the version that an alias means, and the number of that version."""
    pinned = locate(project.url(f"m:{alias}")).require().url
    return load(pinned).match.step, pinned.rpartition(":")[2].partition("/")[0]


def held_up(monkeypatch):
    """No copy begins until `.set()`."""
    opened, inner = threading.Event(), uploads.copy

    def copy(source, place, **how):
        assert opened.wait(120)
        return inner(source, place, **how)

    monkeypatch.setattr(uploads, "copy", copy)
    return opened


def test_what_was_named_is_uploaded_and_each_name_means_the_last_that_had_it(project, tmp_path, monkeypatch):
    opened = held_up(monkeypatch)
    with Checkpointer(tmp_path / "run", model=model(), upload_to=project.url("m"), keep=1) as saver:
        saver.save(1, aliases="best")
        saver.save(2)
        saver.save(3, aliases=["best", "good"])
        saver.save(3)  # once more, as a loop that saves every so many steps does
        saver.save(4)
        opened.set()
    assert {path.name for path in (tmp_path / "run").glob("checkpoint-*")} == {"checkpoint-4"}
    assert {alias: step_of(project, alias) for alias in ("v0", "best", "good", "latest")} == {
        "v0": (1, "v0"),
        "best": (3, "v1"),
        "good": (3, "v1"),
        "latest": (4, "v2"),
    }


def test_a_name_survives_a_kill_and_a_pruning_before_its_upload_began(project, tmp_path, monkeypatch, command):
    run, place = tmp_path / "run", project.url("m")
    opened = held_up(monkeypatch)

    def work():
        with Checkpointer(run, model=model(), upload_to=place, keep=1) as saver:
            saver.save(1, aliases=["best"])
            saver.save(2)
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(work).killed
    code, shown, _ = command("prune", str(run), "--apply")
    assert code == 0 and "checkpoint-1: is best (not uploaded yet), and stays" in shown
    opened.set()
    with Checkpointer(run, model=model(), upload_to=place, keep=1) as saver:
        assert saver.resume().step == 2
        saver.save(3)
    assert step_of(project, "best")[0] == 1 and step_of(project, "latest")[0] == 3
    assert {path.name for path in run.glob("checkpoint-*")} == {"checkpoint-3"}


def test_a_name_survives_a_kill_and_a_save_of_the_same_step_by_the_next_process(
    project, tmp_path, monkeypatch, command
):
    run, place = tmp_path / "run", project.url("m")
    opened = held_up(monkeypatch)

    def work():
        with Checkpointer(run, model=model(), upload_to=place) as saver:
            saver.save(1, aliases=["best"])
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(work).killed
    with Checkpointer(run, model=model(), upload_to=place) as saver:
        assert saver.resume().step == 1
        again = saver.save(1, aliases="good")
        saver.save(2)
        opened.set()
    assert read_seal(list_files(again.location)).provenance["aliases"] == ["best", "good"]
    assert step_of(project, "best")[0] == step_of(project, "good")[0] == 1
    assert command("prune", str(run), "--apply")[0] == 0
    assert {path.name for path in run.glob("checkpoint-*")} == {"checkpoint-2"}, "what was uploaded may go"


@pytest.mark.parametrize("alias", ["v3", "a/b", "a:b", ""])
def test_what_is_no_alias_is_refused_before_anything_is_written(project, tmp_path, alias):
    with Checkpointer(tmp_path / "run", model=model(), upload_to=project.url("m")) as saver:
        with pytest.raises(UsageError, match="is no alias; give a word"):
            saver.save(1, aliases=["best", alias])
        assert list((tmp_path / "run").glob("checkpoint-*")) == []
