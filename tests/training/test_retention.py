"""What a rule keeps by the time, and what is put aside rather than removed: shown, brought back, removed for good."""

import os
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import ckpt_core
from ckpt_core.cli.main import main
from ckpt_core.errors import (
    CheckpointNotFoundError,
    CorruptError,
    LoadRefusedError,
    LockedError,
    OverwriteError,
    UsageError,
)
from ckpt_core.training import Checkpointer, Keep, prune, purge, state_dict, undelete


def model(value=1.0):
    made = torch.nn.Linear(2, 2)
    with torch.no_grad():
        made.weight.fill_(value)
    return made


@pytest.fixture
def run(tmp_path):
    """A run whose four checkpoints were put aside but for the newest."""
    with Checkpointer(tmp_path / "run", model=model(), keep=Keep(1, recoverable=True)) as saver:
        for step in (1, 2, 3, 4):
            saver.save(step)
    return tmp_path / "run"


def there(run):
    return sorted(name for name in os.listdir(run) if name.startswith("checkpoint-"))


def aside(run):
    return sorted(name for name in os.listdir(run) if name.endswith("-deleted"))


@given(
    gaps=st.lists(st.floats(0, 100), min_size=1, max_size=12),
    seconds=st.floats(1, 200),
    last=st.integers(0, 3),
)
def test_by_the_time_the_first_stays_and_none_between_is_too_far_from_the_next(gaps, seconds, last):
    times = {step: sum(gaps[:step]) for step in range(1, len(gaps) + 1)}
    kept = Keep(last, seconds=seconds).kept({step: {} for step in times}, times.get)
    by_time = Keep(0, seconds=seconds).kept({step: {} for step in times}, times.get)
    assert {1, max(times)} <= kept and by_time <= kept
    *middle, _ = sorted(by_time)
    assert all(times[b] - times[a] >= seconds * (1 - 1e-9) for a, b in pairwise(middle))
    for step, at in times.items():
        before = max(one for one in by_time if one <= step)
        assert at < times[before] + seconds * (1 + 1e-9)


def test_a_run_keeps_one_of_each_stretch_of_time(tmp_path, monkeypatch):
    with Checkpointer(tmp_path / "run", model=model(), keep=Keep(1, seconds=100)) as saver:
        for step in range(1, 7):
            inner = saver._run.committed_at
            monkeypatch.setattr(saver._run, "committed_at", lambda step, inner=inner: 40.0 * step)
            saver.save(step)
    assert there(tmp_path / "run") == ["checkpoint-1", "checkpoint-4", "checkpoint-6"]


def test_what_was_put_aside_comes_back_and_can_be_gone_on_from(run):
    assert there(run) == ["checkpoint-4"] and len(aside(run)) == 3
    with Checkpointer(run, model=model(5.0)) as saver:
        assert saver.resume().step == 4
    assert len(aside(run)) == 3, "a new process took what was put aside for debris"
    assert undelete(run, 2) == str(run / "checkpoint-2")
    with Checkpointer(run, model=model(5.0)) as saver:
        assert saver.resume(2).step == 2
    assert purge(run) == [1, 3] and aside(run) == []
    assert there(run) == ["checkpoint-2", "checkpoint-4"]


def test_what_cannot_come_back_is_said_and_nothing_changes(run):
    with pytest.raises(CheckpointNotFoundError, match=r"put aside; these are: \[1, 2, 3\]"):
        undelete(run, 9)
    damaged = run / ".checkpoint-1.ckpt-deleted" / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptError, match=r"model\.safetensors"):
        undelete(run, 1)
    with Checkpointer(run, model=model()) as saver:
        with pytest.raises(LockedError):
            undelete(run, 2)
        saver.resume()
        saver.save(2)
    with pytest.raises(OverwriteError, match="checkpoint-2: is there"):
        undelete(run, 2)
    assert len(aside(run)) == 3
    with pytest.raises(CheckpointNotFoundError):
        purge(run / "elsewhere")


def test_the_command_puts_aside_brings_back_and_purges(tmp_path, capsys):
    run = tmp_path / "run"
    with Checkpointer(run, model=model()) as saver:
        for step in (1, 2, 3):
            saver.save(step)
    assert main(["prune", str(run), "--recoverable"]) == 1 and aside(run) == []
    assert main(["prune", str(run), "--recoverable", "--apply"]) == 0 and there(run) == ["checkpoint-3"]
    assert main(["prune", str(run), "--undelete", "1"]) == 0 and there(run) == ["checkpoint-1", "checkpoint-3"]
    assert main(["prune", str(run), "--purge"]) == 0 and aside(run) == []
    assert "1 checkpoint removed for good" in capsys.readouterr().out
    assert main(["prune", str(run), "--purge", "--undelete", "1"]) == 2
    assert main(["prune", str(run), "--keep-seconds", "1e9"]) == 0, "the first and the newest"


@pytest.mark.parametrize("seconds", [0, -1, "an hour"])
def test_a_time_that_is_none_is_refused(seconds):
    with pytest.raises(UsageError, match="seconds=: a number of seconds is needed"):
        Keep(seconds=seconds)


def test_prune_takes_the_same_rule(tmp_path):
    with Checkpointer(tmp_path / "run", model=model()) as saver:
        for step in (1, 2):
            saver.save(step)
    done = prune(tmp_path / "run", Keep(recoverable=True), apply=True)
    assert list(done.removed) == ["checkpoint-1"] and aside(tmp_path / "run") == [".checkpoint-1.ckpt-deleted"]


def test_thin_ones_keep_their_weights_and_lose_their_optimizer(tmp_path):
    trained = model()
    optimizer = torch.optim.AdamW(trained.parameters())
    trained(torch.ones(2)).sum().backward()
    optimizer.step()
    objects = {"model": trained, "optimizer": optimizer}
    with Checkpointer(tmp_path / "run", **objects, keep=Keep(1, thin_every=2)) as saver:
        for step in range(1, 6):
            trained.weight.data.fill_(step)
            saver.save(step)
    assert there(tmp_path / "run") == ["checkpoint-2", "checkpoint-4", "checkpoint-5"]
    for step, parts in ((2, {"model", "rng", "progress"}), (5, {"model", "optimizer", "rng", "progress"})):
        opened = ckpt_core.load(str(tmp_path / "run" / f"checkpoint-{step}"))
        assert parts == {part.kind for part in opened.manifest.components} - {"config"}
        assert bool((state_dict(opened)["weight"] == step).all())
        assert ckpt_core.verify(opened, depth="bytes").report.ok
    with Checkpointer(tmp_path / "run", **objects, keep=Keep(1, thin_every=2)) as saver:
        assert saver.resume("required").step == 5
        with pytest.raises(LoadRefusedError, match="no component optimizer"):
            saver.resume(4)
        before = os.stat(tmp_path / "run" / "checkpoint-4").st_ino
        saver.save(6)
        assert os.stat(tmp_path / "run" / "checkpoint-4").st_ino == before, "a thin one was made thin again"
