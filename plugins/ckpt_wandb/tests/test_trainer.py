"""The guide's flags under transformers' Trainer: resumed on a machine that has nothing, or not begun."""

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from ckpt_wandb import add_arguments, resolve, subset_indices
from ckpt_wandb.artifacts import open_artifact
from ckpt_wandb.refs import parse
from ckpt_wandb.trainer.callback import settle_learning_rate
from ckpt_wandb.trainer.resumption import Resumption, recorded

from ckpt_core import (
    CheckpointNotFoundError,
    IncompleteError,
    LoadError,
    NoAnswerError,
    UsageError,
)
from tests.servers.wandb.samples import trainer_step

TRAINING = Path(__file__).parents[3] / "examples" / "dylora" / "train.py"


def parsed(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    parser.add_argument("--num_experts", type=int)
    return parser.parse_args(words)


def train(folder, *words, env):
    """Run the training in a folder, as on a machine of its own: its exit code, its answer, what it complained of."""
    folder.mkdir(exist_ok=True)
    steady = {**env, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    steady.pop("WANDB_ARTIFACT_DIR", None)
    steady.pop("WANDB_SERVICE", None)  # this process's own: another machine has its own, in which no run is in use
    command = [sys.executable, str(TRAINING), *words]
    done = subprocess.run(command, cwd=folder, env=steady, capture_output=True, text=True, timeout=240)
    answer = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None
    return done.returncode, answer, done.stderr


@pytest.fixture(scope="module")
def first_run(made_once):
    """The output folder of four steps, saved at two and at four."""

    def make(folder):
        code, answer, err = train(folder, env=dict(os.environ))
        assert code == 0, err
        assert (answer["steps"], answer["from"]) == ([1, 2, 3, 4], None)

    return made_once("wandb-lora-moe", make) / "results_full"


@pytest.fixture
def logged(project, first_run):
    project.log("best-dylora-model-full", first_run, metadata={"step": 4})
    return project


def test_a_training_goes_on_from_its_artifact_in_an_empty_folder_with_the_new_learning_rate(logged, tmp_path):
    ref = f"{logged.name}/best-dylora-model-full:latest"
    words = ("--wandb_checkpoint_artifact", ref, "--max_steps", "6", "--learning_rate", "5e-5")
    code, answer, err = train(tmp_path / "elsewhere", *words, "--training_subset", "50", env=logged.env)
    assert code == 0, err
    assert (answer["steps"], answer["examples"]) == ([5, 6], 24)
    assert answer["from"] == f"wandb://{logged.name}/best-dylora-model-full:v0#checkpoint-4"
    assert answer["rates"] == [5e-5, 5e-5]
    assert answer["maturity"] == [6.0, 6.0]
    assert answer["skills"] == ["step 2", "step 4", "step 6"]


@pytest.mark.long
def test_a_training_that_was_preempted_goes_on_elsewhere_as_the_same_run_from_what_it_uploaded(project, tmp_path):
    artifact = f"{project.name}/dylora"
    words = ("--upload_to", artifact, "--max_steps", "4")
    code, _, err = train(tmp_path / "one", *words, "--preempt_at", "3", env=project.env)
    assert code == -signal.SIGKILL, err
    found = open_artifact(parse(f"wandb://{artifact}:latest"))
    assert (found.ref.alias, found.metadata["step"], found.aliases) == ("v0", 2, ("latest", "step-2"))
    resumed = ("--wandb_checkpoint_artifact", f"{artifact}:latest")
    code, answer, err = train(tmp_path / "another", *words, *resumed, env=project.env)
    assert code == 0, err
    assert (answer["steps"], answer["from"]) == ([3, 4], f"wandb://{artifact}:v0")
    assert answer["run_id"] == found.run_id
    assert open_artifact(parse(f"wandb://{artifact}:latest")).metadata["step"] == 4


@pytest.mark.long
def test_a_training_that_stopped_early_goes_on_to_its_end_with_a_raised_patience(project, tmp_path):
    """At so large a learning rate each evaluation is worse than the first one."""
    worse = ("--learning_rate", "0.5", "--max_steps", "20")
    code, first, err = train(tmp_path / "one", *worse, "--early_stopping_patience", "2", env=project.env)
    assert code == 0, err
    stopped = first["steps"][-1]
    assert stopped < 20
    project.log("best-dylora-model-full", tmp_path / "one" / "results_full")
    ref = ("--wandb_checkpoint_artifact", f"{project.name}/best-dylora-model-full:v0")
    code, again, err = train(tmp_path / "same", *worse, *ref, "--early_stopping_patience", "2", env=project.env)
    assert code == 0, err
    assert again["steps"] == [stopped + 1, stopped + 2]  # one evaluation: its patience was over already
    code, raised, err = train(tmp_path / "raised", *worse, *ref, "--early_stopping_patience", "50", env=project.env)
    assert code == 0, err
    assert raised["steps"] == list(range(stopped + 1, 21))
    assert raised["from"].endswith(f"#checkpoint-{stopped}")


@pytest.mark.long
def test_the_checkpoints_learning_rate_goes_on_where_that_is_asked_and_datasets_may_change(logged, tmp_path):
    ref = f"{logged.name}/best-dylora-model-full:latest"
    words = ("--wandb_checkpoint_artifact", ref, "--max_steps", "6", "--learning_rate", "5e-5")
    more = ("--lr_from", "checkpoint", "--datasets", "code_alpaca,mbpp,evol_instruct", "--early_stopping_patience", "5")
    code, answer, err = train(tmp_path / "elsewhere", *words, *more, env=logged.env)
    assert code == 0, err
    assert (answer["steps"], answer["rates"], answer["examples"]) == ([5, 6], [1e-3, 1e-3], 144)


@pytest.mark.long
def test_what_the_guide_says_of_a_test_download_holds(logged, tmp_path):
    """`wandb artifact get`, by the client's own command, and the same by ours, which hashes."""
    from ckpt_wandb import download

    ref = f"{logged.name}/best-dylora-model-full:v0"
    command = [sys.executable, "-m", "wandb", "artifact", "get", ref, "--root", str(tmp_path / "theirs")]
    done = subprocess.run(command, env=logged.env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    download(ref, tmp_path / "ours")
    theirs, ours = (
        {str(path.relative_to(base)): path.read_bytes() for path in base.rglob("*") if path.is_file()}
        for base in (tmp_path / "theirs", tmp_path / "ours")
    )
    assert theirs == ours


RANKS = """
import argparse, json, os, sys
from dataclasses import asdict
from pathlib import Path
from ckpt_wandb import add_arguments, resolve
parser = argparse.ArgumentParser()
add_arguments(parser)
found = resolve(parser.parse_args(sys.argv[2:]), folder=sys.argv[1])
Path(__file__).with_name("rank%s.json" % os.environ["RANK"]).write_text(json.dumps(asdict(found)))
"""


def of_ranks(folder, *words, env):
    """What two ranks of torchrun find, or complain of."""
    (folder / "ranks.py").write_text(RANKS)
    steady = {**env, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    steady.pop("WANDB_SERVICE", None)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(folder / "ranks.py"), str(folder / "artifacts"), *words]
    done = subprocess.run(command, env=steady, capture_output=True, text=True, timeout=120)
    return done.returncode, [json.loads(path.read_bytes()) for path in folder.glob("rank?.json")], done.stderr


def test_one_rank_asks_and_all_go_on_from_its_answer(project, folder_of, first_run, tmp_path):
    project.log("m", first_run / "checkpoint-4")
    project.forget()
    ref = f"{project.name}/m:latest"
    code, answers, err = of_ranks(tmp_path, "--wandb_checkpoint_artifact", ref, env=project.env)
    assert code == 0, err
    assert answers[0] == answers[1]
    assert (answers[0]["ref"], answers[0]["step"]) == (f"wandb://{project.name}/m:v0", 4)
    asked = [request.name for request in project.server.requests if request.kind == "graphql"]
    assert asked.count("ArtifactMembershipByName") == 1, asked


@pytest.mark.long
def test_what_one_rank_is_refused_ends_all(project, tmp_path):
    code, answers, err = of_ranks(tmp_path, "--wandb_checkpoint_artifact", f"{project.name}/m:v0", env=project.env)
    assert (code, answers) == (1, [])
    assert "CheckpointNotFoundError" in err


@pytest.mark.parametrize(("counted", "patience", "after"), [(0, 3, 3), (2, 3, 1), (3, 5, 2), (3, 3, 1)])
def test_early_stopping_goes_on_counting(tmp_path, counted, patience, after):
    """Evaluations that are not better end the training after what is left of its patience."""
    from transformers import EarlyStoppingCallback, TrainerControl, TrainerState

    before = EarlyStoppingCallback(patience)
    before.early_stopping_patience_counter = counted
    state = TrainerState(global_step=4, best_metric=0.5, stateful_callbacks={"EarlyStoppingCallback": before.state()})
    state.save_to_json(str(tmp_path / "trainer_state.json"))
    found = recorded(str(tmp_path), ref="r", digest="", run_id=None, lr_from=None)
    assert (found.not_better, found.best_metric) == (counted, 0.5)
    stopping, control = found.early_stopping(patience), TrainerControl()
    asked = SimpleNamespace(metric_for_best_model="loss", greater_is_better=False)
    for _ in range(after):
        assert not control.should_training_stop
        stopping.on_evaluate(asked, state, control, {"eval_loss": 0.6})
    assert control.should_training_stop


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--max_steps", "6", "--num_experts", "3"), "give --num_experts 2"),
        (("--max_steps", "4", "--training_subset", "10"), "this training ends at step 4: nothing would be done"),
    ],
)
def test_a_training_that_cannot_be_meant_is_refused_before_its_first_step(logged, tmp_path, words, said):
    ref = f"{logged.name}/best-dylora-model-full:v0"
    code, _, err = train(tmp_path / "elsewhere", "--wandb_checkpoint_artifact", ref, *words, env=logged.env)
    assert code == 1
    assert said in err
    assert not list((tmp_path / "elsewhere").glob("results_full/checkpoint-*"))


def optimizer_of(rate):
    import torch

    return torch.optim.AdamW(torch.nn.Linear(2, 2).parameters(), lr=rate)


def resumption(lr_from, step=4):
    return Resumption("p", "wandb://a/b/c:v0", "d", step, 1.0, None, None, lr_from)


def test_the_checkpoints_learning_rate_holds_where_that_is_asked():
    optimizer = optimizer_of(1e-3)
    settle_learning_rate(resumption("checkpoint"), 5e-5, optimizer, None)
    assert optimizer.param_groups[0]["lr"] == 1e-3


def test_a_learning_rate_that_differs_and_of_which_nobody_said_which_holds_is_refused():
    optimizer = optimizer_of(1e-3)
    said = (
        "has the learning rate 0.001, and this training 5e-05; say which holds: --lr_from checkpoint, or --lr_from arg"
    )
    with pytest.raises(LoadError, match=said):
        settle_learning_rate(resumption(None), 5e-5, optimizer, None)
    settle_learning_rate(resumption(None), 1e-3, optimizer, None)


def test_a_training_of_which_no_step_is_left_is_refused():
    callback = resumption("argument").callback()
    told = SimpleNamespace(learning_rate=1e-3)
    with pytest.raises(UsageError, match="is at step 4, and this training ends at step 4: nothing would be done"):
        callback.on_train_begin(told, SimpleNamespace(global_step=4, max_steps=4), None, optimizer=optimizer_of(1e-3))
    callback.on_train_begin(told, SimpleNamespace(global_step=4, max_steps=5), None, optimizer=optimizer_of(1e-3))


def test_another_number_of_experts_is_refused_before_anything_is_loaded(logged, tmp_path):
    args = parsed("--wandb_checkpoint_artifact", f"{logged.name}/best-dylora-model-full:v0", "--num_experts", "4")
    with pytest.raises(LoadError, match="with num_experts=2, and the model is built with 4; give --num_experts 2"):
        resolve(args, folder=tmp_path)
    args.num_experts = 2
    assert resolve(args, folder=tmp_path).step == 4


def test_a_second_start_downloads_no_file_again(logged, tmp_path):
    args = parsed("--wandb_checkpoint_artifact", f"{logged.name}/best-dylora-model-full:v0")
    first = resolve(args, folder=tmp_path)
    made = {path: path.stat().st_mtime_ns for path in Path(first.path).iterdir()}
    logged.forget()
    assert resolve(args, folder=tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in Path(first.path).iterdir()} == made
    asked = [request for request in logged.server.requests if request.kind == "file"]
    assert {request.range for request in asked if not request.range} == set()  # heads, to tell which is complete


@pytest.mark.parametrize(
    ("ref", "error"),
    [
        ("best-dylora-model-full:v9", CheckpointNotFoundError),
        ("no-such-model:v0", CheckpointNotFoundError),
        ("best-dylora-model-full:v0#checkpoint-9", LookupError),
    ],
)
def test_what_is_not_there_ends_the_training_and_never_starts_one(logged, tmp_path, ref, error):
    args = parsed("--wandb_checkpoint_artifact", f"{logged.name}/{ref}")
    with pytest.raises((error, CheckpointNotFoundError, UsageError)):
        resolve(args, folder=tmp_path)


def test_a_download_that_fails_ends_the_training(logged, tmp_path, monkeypatch):
    monkeypatch.setenv("CKPT_REMOTE_TIMEOUT", "1")
    logged.server.faults.add("503", "file")
    with pytest.raises(NoAnswerError):
        resolve(parsed("--wandb_checkpoint_artifact", f"{logged.name}/best-dylora-model-full:v0"), folder=tmp_path)


def test_an_artifact_whose_checkpoints_cannot_be_gone_on_from_is_refused(project, folder_of, tmp_path):
    project.log("m", folder_of(trainer_step(400)))
    with pytest.raises(IncompleteError, match="no checkpoint of 1 is complete for resume"):
        resolve(parsed("--wandb_checkpoint_artifact", f"{project.name}/m:v0"), folder=tmp_path)


@pytest.mark.parametrize("words", [(), ("--wandb_checkpoint_artifact", "None"), ("--wandb_checkpoint_artifact", "")])
def test_none_starts_anew(words):
    assert resolve(parsed(*words)) is None


def test_the_old_flag_still_finds_a_folder_and_is_passed_over_for_the_new_one(logged, first_run, tmp_path, caplog):
    found = resolve(parsed("--resume_from_checkpoint"), output_dir=first_run)
    assert (found.step, Path(found.path)) == (4, first_run / "checkpoint-4")
    assert "--resume_from_checkpoint is deprecated" in caplog.text
    assert resolve(parsed("--resume_from_checkpoint", str(first_run))).step == 4
    ref = f"{logged.name}/best-dylora-model-full:v0#checkpoint-2"
    both = parsed("--resume_from_checkpoint", "--wandb_checkpoint_artifact", ref)
    with caplog.at_level(logging.WARNING):
        found = resolve(both, output_dir=first_run, folder=tmp_path)
    assert (found.step, found.ref) == (2, f"wandb://{ref}")
    assert "--resume_from_checkpoint is passed over" in caplog.text
    with pytest.raises(CheckpointNotFoundError):
        resolve(parsed("--resume_from_checkpoint"), output_dir=tmp_path / "nothing")


def test_the_flags_of_the_guide_say_what_to_train_on():
    args = parsed("--datasets", "code_alpaca, mbpp", "--training_subset", "10", "--early_stopping_patience", "5")
    assert args.datasets == ("code_alpaca", "mbpp")
    assert (args.training_subset, args.eval_subset, args.early_stopping_patience) == (10.0, 100.0, 5)
    assert parsed().early_stopping_patience == 3
    assert (subset_indices(64, 10), subset_indices(3, 1), subset_indices(0, 10)) == (range(7), range(1), range(0))


@pytest.mark.parametrize(
    "words",
    [
        ("--training_subset", "0"),
        ("--training_subset", "101"),
        ("--eval_subset", "-1"),
        ("--early_stopping_patience", "0"),
        ("--lr_from", "elsewhere"),
    ],
)
def test_values_that_mean_nothing_are_refused(words, capsys):
    with pytest.raises(SystemExit):
        parsed(*words)
    assert words[0] in capsys.readouterr().err


@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_a_new_learning_rate_keeps_the_place_in_its_schedule(schedule):
    import torch

    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    shrink = (lambda step: 1 - step / 10) if schedule == "linear" else (lambda step: 1.0)
    plan = torch.optim.lr_scheduler.LambdaLR(optimizer, shrink)
    for _ in range(4):
        optimizer.step()
        plan.step()
    settle_learning_rate(resumption("argument"), 5e-4, optimizer, plan)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(5e-4 * shrink(4))
    optimizer.step()
    plan.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(5e-4 * shrink(5))
