"""`ckpt plan-resume`: what a run goes on from before it is started, with exit codes of its own."""

import json
import shutil
import uuid

import pytest
import torch

from ckpt_core.cli.main import main
from ckpt_core.training import Effect, plan_resume
from tests.training.small_training import checkpointer, training


@pytest.fixture(scope="module")
def made_run(tmp_path_factory):
    made = training()
    place = tmp_path_factory.mktemp("runs") / "run"
    arguments = {"max_steps": 9, "lr": 0.01, "clip": 1.0}
    with checkpointer(place, made, save_every=1, arguments=arguments) as saver:
        made.run(2, saver)
    return place


@pytest.fixture
def run(made_run, tmp_path):
    return shutil.copytree(made_run, tmp_path / "run")


@pytest.mark.parametrize(
    ("format", "where"), [("dcp", "folder"), ("training-state", "folder"), ("bundle", "memory"), ("dcp", "memory")]
)
def test_a_run_of_any_format_is_planned_where_it_is(format, where, tmp_path, capsys):
    run = str(tmp_path / "run") if where == "folder" else f"memory://{uuid.uuid4().hex}/run"
    made = training()
    with checkpointer(run, made, save_every=1, format=format, arguments={"max_steps": 9}) as saver:
        made.run(2, saver)
    assert main(["plan-resume", run, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)["result"]
    assert (plan["step"], plan["location"]) == (2, f"{run}/checkpoint-2")
    rows = {row["what"]: row["effect"] for row in plan["rows"]}
    assert rows["optimizer"] == rows["rng"] == rows["sampler"] == rows["scheduler"] == "restored"
    assert main(["plan-resume", run, "--set", "max_steps=2"]) == 4


@pytest.mark.parametrize("format", ["dcp", "bundle"])
def test_an_optimizer_that_had_taken_no_step_is_called_empty_and_is_no_hindrance(format, tmp_path):
    made = training()
    with checkpointer(tmp_path / "run", made, format=format) as saver:
        saver.save(1)
    row = next(row for row in plan_resume(tmp_path / "run").rows if row.what == "optimizer")
    assert (row.saved, row.effect) == ("no state", Effect.RESTORED) and "no step was taken with it" in row.note
    with checkpointer(tmp_path / "run", training(), format=format) as saver:
        assert saver.resume().step == 1


CASES = {
    "": (0, "steps", Effect.RESTORED, "7 remain of the 9 that it was made for"),
    "--set max_steps=5": (0, "steps", Effect.RESTORED, "3 remain"),
    "--set max_steps=2": (4, "steps", Effect.REFUSED, "step 2 ≥ 2, the last one: nothing would run"),
    "--set batch_size=4": (0, "data: batch_size", Effect.RESTORED, ""),
    "--set batch_size=2": (1, "data: batch_size", Effect.OVERRIDDEN, "none comes twice or is left out"),
    "--set num-workers=3": (1, "data: num_workers", Effect.OVERRIDDEN, "the same again"),
    "--set world_size=2": (1, "data: world_size", Effect.OVERRIDDEN, ""),
    "--set seed=8": (4, "data: seed", Effect.REFUSED, "seed is 8 here and was 7"),
    "--set clip=2.0": (1, "argument clip", Effect.OVERRIDDEN, ""),
    "--set new=2.0": (0, "argument new", Effect.MISSING, "not saved"),
    "--set lr=0.5": (4, "optimizer: learning rate", Effect.REFUSED, "say which counts"),
    "--set lr=0.5 --lr checkpoint": (1, "optimizer: learning rate", Effect.RESTORED, ""),
    "--set lr=0.5 --lr argument": (1, "optimizer: learning rate", Effect.OVERRIDDEN, ""),
}


@pytest.mark.parametrize("flags", CASES)
def test_what_is_given_is_compared_and_the_exit_code_says_how_it_came_out(made_run, capsys, flags):
    code, what, effect, note = CASES[flags]
    assert main(["plan-resume", str(made_run), *flags.split(), "--json"]) == code
    rows = json.loads(capsys.readouterr().out)["result"]["rows"]
    [row] = [row for row in rows if row["what"] == what]
    assert row["effect"] == effect.value and note in row["note"]
    if "--lr" in row["note"]:
        assert main(["plan-resume", str(made_run), *flags.split(), "--lr", "checkpoint"]) == 1


def test_arguments_come_from_a_file_or_as_json(made_run, tmp_path, capsys):
    (tmp_path / "next.json").write_text('{"batch_size": 2}')
    for given in (str(tmp_path / "next.json"), '{"batch_size": 2}'):
        assert main(["plan-resume", str(made_run), "--arguments", given]) == 1
        assert "it would go on from step 2; 1 otherwise than it was" in capsys.readouterr().out
    for given in (str(tmp_path / "none.json"), "[1]", "{"):
        assert main(["plan-resume", str(made_run), "--arguments", given]) == 2
        assert capsys.readouterr().err.startswith("ckpt: error: --arguments: ")
    assert main(["plan-resume", str(made_run), "--set", "lr"]) == 2
    assert main(["plan-resume", str(made_run), "--lr", "both"]) == 2
    assert "--lr: checkpoint or argument is needed, not 'both'" in capsys.readouterr().err


def test_quiet_prints_what_is_refused_alone(made_run, capsys):
    assert main(["plan-resume", str(made_run), "-q"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["plan-resume", str(made_run), "-q", "--set", "seed=1"]) == 4
    assert "seed is 1 here and was 7" in capsys.readouterr().out


def test_nothing_there_and_nothing_whole_are_errors_as_elsewhere(run, tmp_path, capsys):
    assert main(["plan-resume", str(tmp_path / "none")]) == 3
    data = bytearray((run / "checkpoint-2" / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (run / "checkpoint-2" / "model.safetensors").write_bytes(data)
    plan = plan_resume(run)
    assert plan.step == 1 and list(plan.rejected) == ["checkpoint-2"]
    (run / "checkpoint-1" / "ckpt.manifest.json").unlink()
    assert main(["plan-resume", str(run)]) == 4
    assert "none of 2 checkpoints is whole" in capsys.readouterr().err


def test_the_plan_of_the_command_is_that_of_the_resume(made_run):
    """What the command says of rates, batch size and steps is what a Checkpointer then does."""
    with checkpointer(made_run, training(lr=0.5, batch_size=2)) as saver:
        live = saver.plan(max_steps=2)
    stored = plan_resume(made_run, {"lr": 0.5, "batch_size": 2, "max_steps": 2})
    assert {row.what for row in live.refused} == {"steps", "optimizer group 0: learning rate"}
    assert {row.what for row in stored.refused} == {"steps", "optimizer: learning rate"}
    both = live.row("sampler: batch_size"), stored.row("data: batch_size")
    assert [(row.saved, row.given, row.effect) for row in both] == [(4, 2, Effect.OVERRIDDEN)] * 2


def test_a_checkpoint_of_a_loop_of_ones_own_is_planned_from_its_state(tmp_path):
    made = training()
    made.run(2)
    state = {"model": made.model.state_dict(), "optimizer": made.optimizer.state_dict()}
    state |= {"scheduler": made.scheduler.state_dict(), "step": 2, "epoch": 0}
    torch.save(state, tmp_path / "last.pth")
    plan = plan_resume(tmp_path / "last.pth", {"max_steps": 2, "lr": 0.01})
    assert [row.what for row in plan.refused] == ["steps"]
    assert plan.row("rng").effect is Effect.MISSING
    assert plan.row("optimizer: learning rate").effect is Effect.RESTORED
