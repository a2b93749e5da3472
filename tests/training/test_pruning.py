"""Pruning a run: shown first, proved before anything goes, and nothing of anybody else's touched."""

import json
import shutil

import pytest

from ckpt_core import load
from ckpt_core.cli.main import main
from ckpt_core.errors import CheckpointNotFoundError, CorruptError, LockedError, UsageError
from ckpt_core.training import Keep, prune
from tests.training.small_training import checkpointer, training

LOSSES = {1: 5.0, 2: 1.0, 3: 2.0, 4: 9.0, 5: 3.0, 6: 4.0}


@pytest.fixture(scope="module")
def made_run(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    with checkpointer(run, training().run(1)) as saver:
        for step, loss in LOSSES.items():
            saver.save(step, metrics={"val_loss": loss})
    return run


@pytest.fixture
def run(made_run, tmp_path):
    return shutil.copytree(made_run, tmp_path / "run")


def steps(run):
    return [int(path.name[11:]) for path in sorted(run.glob("checkpoint-*"))]


RULES = {
    "": (Keep(), [6]),
    "--keep-last 3": (Keep(3), [4, 5, 6]),
    "--keep-every 2": (Keep(every=2), [2, 4, 6]),
    "--keep-best val_loss": (Keep(best="val_loss"), [2, 6]),
    "--keep-best +val_loss": (Keep(best="+val_loss"), [4, 6]),
    "--keep-last 2 --keep-every 3 --keep-best val_loss": (Keep(2, 3, "val_loss"), [2, 3, 5, 6]),
}


@pytest.mark.parametrize("flags", RULES)
def test_each_flag_keeps_what_it_says_and_nothing_goes_without_apply(run, capsys, flags):
    keep, kept = RULES[flags]
    assert main(["prune", str(run), *flags.split(), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)["result"]
    assert sorted(said["kept"]) == [f"checkpoint-{step}" for step in kept]
    assert said["bytes"] == sum(said["removed"].values()) > 0 and not said["applied"]
    assert steps(run) == list(LOSSES)
    assert prune(run, keep).removed == said["removed"]
    assert main(["prune", str(run), *flags.split(), "--apply"]) == 0
    assert steps(run) == kept
    assert "those that are kept were proved" in capsys.readouterr().out
    assert main(["prune", str(run), *flags.split()]) == 0
    assert "nothing to remove" in capsys.readouterr().out


def test_thin_ones_stay_without_their_optimizer(run, capsys):
    command = ["prune", str(run), "--thin-every", "2"]
    assert main([*command, "--json"]) == 1
    said = json.loads(capsys.readouterr().out)["result"]
    assert list(said["thinned"]) == ["checkpoint-2", "checkpoint-4"] and steps(run) == list(LOSSES)
    assert main([*command, "--apply"]) == 0
    assert steps(run) == [2, 4, 6]
    held = {step: [part.label for part in load(str(run / f"checkpoint-{step}")).manifest.components] for step in (4, 6)}
    assert "optimizer" not in held[4] and "model" in held[4] and "optimizer" in held[6]
    assert main(command) == 0
    assert "nothing to remove" in capsys.readouterr().out


def test_nothing_goes_where_what_would_be_kept_is_not_whole(run):
    data = bytearray((run / "checkpoint-6" / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (run / "checkpoint-6" / "model.safetensors").write_bytes(data)
    with pytest.raises(CorruptError, match=r"checkpoint-6: would be kept and is not whole.*nothing was removed"):
        prune(run, Keep(), apply=True)
    assert steps(run) == list(LOSSES)


def test_what_is_of_another_run_or_unreadable_is_left_alone_and_said(run, tmp_path):
    with checkpointer(tmp_path / "other", training(seed=3)) as saver:
        saver.save(1)
    shutil.rmtree(run / "checkpoint-1")
    shutil.copytree(tmp_path / "other" / "checkpoint-1", run / "checkpoint-1")
    (run / "checkpoint-2" / "bundle.json").write_text("{}")
    (run / "notes").mkdir()
    done = prune(run, Keep(), apply=True)
    assert set(done.left) == {"checkpoint-1", "checkpoint-2"} and "another run" in done.left["checkpoint-1"]
    assert steps(run) == [1, 2, 6] and (run / "notes").is_dir()


def test_a_metric_that_was_never_saved_and_a_best_one_that_is_gone_are_said(run):
    with pytest.raises(UsageError, match=r"never saved; saved were val_loss; nothing was removed"):
        prune(run, Keep(best="accuracy"), apply=True)
    assert prune(run, Keep(best="val_loss")).notes == ()
    shutil.rmtree(run / "checkpoint-2")
    assert prune(run, Keep(best="val_loss")).notes == (
        "the best val_loss of the run, 1 at step 2, is of a checkpoint that is not there",
    )


def test_nothing_goes_while_a_training_is_running_there(run):
    with checkpointer(run, training()) as saver:
        saver.resume()
        with pytest.raises(LockedError, match="another training is running"):
            prune(run, Keep(), apply=True)
        assert prune(run, Keep()).removed
    assert steps(run) == list(LOSSES)


def test_a_folder_without_checkpoints_is_not_found(tmp_path, capsys):
    with pytest.raises(CheckpointNotFoundError):
        prune(tmp_path, Keep())
    assert main(["prune", str(tmp_path)]) == 3
    (tmp_path / "checkpoint-3").mkdir()
    assert main(["prune", str(tmp_path)]) == 3
    assert main(["prune", str(tmp_path), "--keep-last", "-1"]) == 2
    assert "--keep-last: a number from 0 on is needed, not -1" in capsys.readouterr().err
