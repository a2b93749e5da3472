"""Checkpoints of transformers' own Trainer: complete as it leaves them, and one line for each thing taken away."""

import json
import shutil
from pathlib import Path

import pytest

import ckpt_core
from ckpt_core.errors import UnsafeContentError

NEEDED = {"optimizer.pt": "optimizer", "scheduler.pt": "scheduler", "trainer_state.json": "progress"}


@pytest.fixture(scope="session")
def runs(made):
    return made("trainer_runs.py")


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_what_the_trainer_leaves_is_complete_for_every_purpose(runs, assessed, kind):
    for profile in ("inference", "resume", "exact-resume"):
        assert assessed(runs / kind / "checkpoint-4", profile)[0] == "COMPLETE"
    opened = ckpt_core.load(str(runs / kind / "checkpoint-4"))
    assert (opened.match.format, opened.manifest.step) == ("hf-trainer", 4)
    assert opened.component("adapter" if kind == "lora" else "model").tensors


@pytest.mark.parametrize("profile", ["resume", "exact-resume"])
def test_a_step_that_is_named_itself_is_one_run_also_without_a_config(runs, copy_of, profile):
    folder = copy_of(runs / "full" / "checkpoint-4")
    (folder / "config.json").unlink()
    assert ckpt_core.locate(str(folder), profile=profile).require().url == str(folder)
    assert [part.kind for part in ckpt_core.load(folder / "rng_state.pth").manifest.components] == ["rng"]


@pytest.mark.parametrize("name", [*NEEDED, "rng_state.pth"])
def test_a_part_that_is_gone_flips_its_own_line(runs, copy_of, assessed, name):
    folder = copy_of(runs / "full" / "checkpoint-4")
    (folder / name).unlink()
    verdict, lines = assessed(folder)
    kind = NEEDED.get(name, "rng")
    assert verdict == "PARTIAL"
    assert [label for label, presence in lines.items() if presence == "absent"] == [kind]
    assert assessed(folder, "resume")[0] == ("COMPLETE" if kind == "rng" else "PARTIAL")
    assert assessed(folder, "inference")[0] == "COMPLETE"


@pytest.mark.parametrize("name", [*NEEDED, "rng_state.pth", "model.safetensors"])
def test_a_part_that_is_cut_short_is_unreadable_and_not_absent(runs, copy_of, assessed, name):
    folder = copy_of(runs / "full" / "checkpoint-4")
    with open(folder / name, "r+b") as file:
        file.truncate(100)
    verdict, lines = assessed(folder)
    assert verdict == "CORRUPT"
    assert lines[NEEDED.get(name, "model" if "model" in name else "rng")] == "unreadable"


def test_weights_that_are_gone_are_absent(runs, copy_of, assessed):
    folder = copy_of(runs / "full" / "checkpoint-4")
    (folder / "model.safetensors").unlink()
    assert assessed(folder, "inference")[1]["model"] == "absent"


def test_an_adapter_that_is_gone_is_absent(runs, copy_of, assessed):
    folder = copy_of(runs / "lora" / "checkpoint-4")
    (folder / "adapter_model.safetensors").unlink()
    assert assessed(folder, "inference")[0] == "PARTIAL"


def test_zero_bytes_of_weights_are_corrupt(runs, copy_of, assessed):
    folder = copy_of(runs / "full" / "checkpoint-4")
    (folder / "model.safetensors").write_bytes(b"")
    assert assessed(folder, "inference")[0] == "CORRUPT"


def test_a_missing_rank_is_named(runs, copy_of, assessed):
    folder = copy_of(runs / "full" / "checkpoint-4")
    state = (folder / "rng_state.pth").read_bytes()
    (folder / "rng_state.pth").unlink()
    for rank in (0, 2):
        (folder / f"rng_state_{rank}.pth").write_bytes(state)
    verdict, lines = assessed(folder)
    assert verdict == "PARTIAL"
    assert {label: presence for label, presence in lines.items() if label.startswith("rng")} == {
        "rng:0": "present",
        "rng:1": "absent",
        "rng:2": "present",
    }


def test_one_numbered_rank_alone_lacks_the_second(runs, copy_of, assessed):
    folder = copy_of(runs / "full" / "checkpoint-4")
    (folder / "rng_state.pth").rename(folder / "rng_state_0.pth")
    assert assessed(folder)[1]["rng:1"] == "absent"


def test_fp16_needs_its_scaler(runs, copy_of, assessed):
    import torch
    from transformers import TrainingArguments

    folder = copy_of(runs / "full" / "checkpoint-4")
    arguments = torch.load(folder / "training_args.bin", weights_only=False)
    assert isinstance(arguments, TrainingArguments)
    object.__setattr__(arguments, "fp16", True)
    torch.save(arguments, folder / "training_args.bin")
    assert assessed(folder, "resume") == (
        "PARTIAL",
        {
            "model": "present",
            "optimizer": "present",
            "scheduler": "present",
            "scaler": "absent",
            "progress": "present",
        },
    )


def test_a_name_that_disagrees_with_the_state_is_said_and_the_state_counts(runs, copy_of):
    folder = copy_of(runs / "full" / "checkpoint-4", "checkpoint-40")
    report = ckpt_core.verify(str(folder)).report
    assert [finding.code for finding in report.findings if finding.severity > 0] == ["HT001"]
    assert ckpt_core.load(str(folder)).manifest.step == 4


def test_a_trainers_state_that_is_no_json_is_unreadable(runs, copy_of, assessed):
    folder = copy_of(runs / "full" / "checkpoint-4")
    (folder / "trainer_state.json").write_text("{")
    assert assessed(folder, "resume")[1]["progress"] == "unreadable"


def test_code_in_the_arguments_is_refused_and_not_run(runs, copy_of, tmp_path):
    import torch

    folder = copy_of(runs / "full" / "checkpoint-4")

    class Hostile:
        def __reduce__(self):
            return (eval, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    torch.save(Hostile(), folder / "training_args.bin")
    with pytest.raises(UnsafeContentError):
        ckpt_core.verify(str(folder))
    assert not (tmp_path / "ran").exists()


def test_the_newest_whole_one_is_found_and_the_trainer_resumes_from_it(runs, copy_of, maker):
    run = copy_of(runs / "full")
    (run / "checkpoint-6" / "trainer_state.json").unlink()
    (run / "checkpoint-4" / "scheduler.pt").unlink()
    found = ckpt_core.locate(str(run), profile="resume")
    assert found.require().url == str(run / "checkpoint-2")
    out = maker("trainer_runs.py", "resume", run, found.require().url)
    assert "STEPS [3, 4, 5, 6]" in out
    losses = [entry["loss"] for entry in _log(runs / "full" / "checkpoint-6") if entry["step"] > 2]
    assert f"LOSSES {[str(loss) for loss in losses]}" in out or f"LOSSES {losses}" in out


@pytest.mark.parametrize("state", ["{}", '{"epoch": 1.5, "global_step": null}'])
def test_a_state_without_its_step_is_no_progress(runs, copy_of, assessed, state):
    """TrainerState takes 0 for a step that is not there, and the Trainer begins anew with a trained optimizer."""
    folder = copy_of(runs / "full") / "checkpoint-4"
    (folder / "trainer_state.json").write_text(state)
    verdict, lines = assessed(folder, "resume")
    assert (verdict, lines["progress"]) == ("PARTIAL", "absent")


@pytest.mark.parametrize("step", ['"4"', "true", "4.5"])
def test_a_step_of_another_type_is_an_error(runs, copy_of, assessed, step):
    folder = copy_of(runs / "full") / "checkpoint-4"
    (folder / "trainer_state.json").write_text(f'{{"global_step": {step}, "epoch": 1.0}}')
    verdict, lines = assessed(folder, "resume")
    assert (verdict, lines["progress"]) == ("CORRUPT", "unreadable")


def cut_short(path):
    with open(path, "r+b") as file:
        file.truncate(100)


@pytest.fixture
def adapters_run(runs, made, copy_of):
    """A run of adapters of which every checkpoint but the first is broken, each in another way and of three formats."""
    run = copy_of(runs / "lora")
    cut_short(run / "checkpoint-4" / "adapter_model.safetensors")
    (run / "checkpoint-6" / "adapter_model.safetensors").unlink()
    experts = Path(shutil.copytree(run / "checkpoint-2", run / "checkpoint-8"))
    (experts / "adapter_model.safetensors").unlink()
    state = json.loads((experts / "trainer_state.json").read_text())
    (experts / "trainer_state.json").write_text(json.dumps(state | {"global_step": 8}))
    shutil.copytree(made("peft_runs.py") / "experts", experts / "peft_adapters")
    cut_short(experts / "peft_adapters" / "expert_1" / "expert_1" / "adapter_model.safetensors")
    shutil.copytree(made("peft_runs.py") / "named" / "style", run / "checkpoint-10")
    cut_short(run / "checkpoint-10" / "adapter_model.safetensors")
    return run


def test_each_newer_one_with_a_broken_adapter_is_named_with_the_check_that_fails(adapters_run):
    found = ckpt_core.locate(str(adapters_run), profile="resume")
    assert found.require().url == str(adapters_run / "checkpoint-2")
    rejected = [attempt for attempt in found.attempts if attempt.outcome.value == "rejected"]
    assert [(Path(one.candidate.url).name, one.candidate.reason.partition(",")[0]) for one in rejected] == [
        ("checkpoint-10", "peft"),
        ("checkpoint-8", "dylora"),
        ("checkpoint-6", "hf-trainer"),
        ("checkpoint-4", "hf-trainer"),
    ]
    for one, words in zip(
        rejected,
        (
            ("CORRUPT for resume", "adapter unreadable", "the header claims"),
            ("CORRUPT for resume", "adapter:expert_1 unreadable", "expert_1/adapter_model.safetensors"),
            ("PARTIAL for resume: adapter absent (adapter_model.safetensors)",),
            ("CORRUPT for resume: adapter unreadable (adapter_model.safetensors)", "the file has 100"),
        ),
        strict=True,
    ):
        assert all(word in one.detail for word in words), one.detail


def _log(folder):
    return [
        entry for entry in json.loads((folder / "trainer_state.json").read_text())["log_history"] if "loss" in entry
    ]
