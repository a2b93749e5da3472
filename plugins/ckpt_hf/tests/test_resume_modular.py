"""ModularTrainer's checkpoints and DyLoRA's: what is called complete is gone on from, in a process of its own."""

import json
import shutil

import pytest
import torch

STATE = "training_state.pt"


def without(key):
    def change(folder):
        state = torch.load(folder / STATE, weights_only=False)
        del state[key]
        torch.save(state, folder / STATE)

    return change


SILENT = {"optimizer": without("optimizer_state_dict"), "scheduler": without("scheduler_state_dict")}
SILENT |= {"rng": without("rng_states")}
REFUSED = {"model": lambda f: (f / "model.safetensors").unlink(), "progress": lambda f: (f / STATE).unlink()}


@pytest.fixture(scope="session")
def saves(made):
    return made("modular_runs.py")


@pytest.fixture(scope="session")
def broken(saves, tmp_path_factory):
    """Copies of checkpoint-2, each without a part: by the part."""
    folder = tmp_path_factory.mktemp("broken")
    for name, change in (SILENT | REFUSED).items():
        change(shutil.copytree(saves / "ordered" / "checkpoint-2", folder / name / "checkpoint-2"))
    return folder


@pytest.fixture(scope="session")
def resumed(saves, broken, tmp_path_factory, maker):
    out = tmp_path_factory.mktemp("resumed")
    jobs = [
        {"name": kind, "kind": kind, "folder": str(saves / kind / "checkpoint-2")} for kind in ("ordered", "shuffled")
    ]
    jobs += [{"name": f.name, "kind": "ordered", "folder": str(f / "checkpoint-2")} for f in sorted(broken.iterdir())]
    (out / "jobs.json").write_text(json.dumps(jobs))
    maker("modular_runs.py", "resume", out / "jobs.json", out)
    return json.loads((out / "resumed.json").read_text())


@pytest.fixture(scope="session")
def whole(saves):
    return json.loads((saves / "whole.json").read_text())


def test_what_the_trainer_saves_is_complete(saves, assessed):
    for profile in ("inference", "resume"):
        assert assessed(saves / "ordered" / "checkpoint-2", profile)[0] == "COMPLETE"


@pytest.mark.long
def test_what_is_complete_is_gone_on_from_bit_for_bit_where_the_data_come_in_order(resumed, whole):
    assert resumed["ordered"] == {"digest": whole["ordered"], "step": 4}


@pytest.mark.long
def test_shuffled_data_come_otherwise_which_is_why_no_exact_resume_is_promised(saves, resumed, whole, assessed):
    verdict, lines = assessed(saves / "shuffled" / "checkpoint-2", "exact-resume")
    assert (verdict, [name for name, presence in lines.items() if presence == "absent"]) == ("PARTIAL", ["sampler"])
    assert resumed["shuffled"]["digest"] != whole["shuffled"]


@pytest.mark.long
@pytest.mark.parametrize("part", list(SILENT))
def test_what_is_begun_anew_in_silence_is_not_complete(saves, broken, resumed, whole, assessed, part):
    before = assessed(saves / "ordered" / "checkpoint-2", "resume")[1]
    verdict, lines = assessed(broken / part / "checkpoint-2", "resume")
    assert (verdict, {name for name in before if before[name] != lines[name]}) == ("PARTIAL", {part})
    assert resumed[part]["step"] == 4
    assert resumed[part]["digest"] != whole["ordered"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("part", "reason"),
    [("model", "Error no file named model.safetensors"), ("progress", f"progress/checkpoint-2/{STATE}")],
)
def test_what_the_run_cannot_be_resumed_from_is_not_complete(broken, resumed, assessed, part, reason):
    assert assessed(broken / part / "checkpoint-2", "inference" if part == "model" else "resume")[0] != "COMPLETE"
    assert reason in resumed[part]["error"]


@pytest.mark.long
def test_the_trainer_resumes_from_dyloras_checkpoint_only_with_the_weights_that_the_run_deletes(
    made, tmp_path, maker, assessed
):
    run = shutil.copytree(made("trainer_runs.py") / "full", tmp_path / "full")
    folder = run / "checkpoint-4"
    shutil.copytree(made("peft_runs.py") / "experts", folder / "peft_adapters")
    (folder / "config.json").write_text('{"model_type": "dylora-moe", "num_experts": 2}')
    router = {"gate.weight": torch.ones(2, 4), "gate.bias": torch.ones(2)}
    torch.save({"gate_state_dict": router, "num_experts": 2}, folder / "router.pt")
    assert assessed(folder, "resume")[0] == "COMPLETE"
    assert "STEPS [5, 6]" in maker("trainer_runs.py", "resume", run, folder)
    (folder / "model.safetensors").unlink()
    verdict, lines = assessed(folder, "resume")
    assert (verdict, lines["model"]) == ("PARTIAL", "absent")
    with pytest.raises(AssertionError, match="Can't find a valid checkpoint"):
        maker("trainer_runs.py", "resume", run, folder)
