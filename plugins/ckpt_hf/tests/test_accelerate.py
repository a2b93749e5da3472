"""Directories of Accelerate's own save_state: complete as it leaves them, and one line for each thing taken away."""

import json
import shutil

import pytest
import torch

import ckpt_core
from ckpt_core.errors import UnsafeContentError

MAKER = "accelerate_runs.py"
PARTS = {
    "model.safetensors": "model",
    "optimizer.bin": "optimizer",
    "optimizer_1.bin": "optimizer:1",
    "scheduler.bin": "scheduler",
    "random_states_0.pkl": "rng:0",
    "dl_state_dict.bin": "sampler",
}


@pytest.fixture(scope="session")
def runs(made):
    return made(MAKER)


def saved(runs, kind="two", number=0):
    return runs / kind / "checkpoints" / f"checkpoint_{number}"


@pytest.mark.parametrize("kind", ["plain", "two", "bin"])
def test_what_accelerate_leaves_is_complete_to_train_on(runs, assessed, kind):
    for profile in ("inference", "resume"):
        assert assessed(saved(runs, kind), profile)[0] == "COMPLETE"
    assert ckpt_core.load(str(saved(runs, kind))).match.format == "accelerate"


def test_every_model_optimizer_and_scheduler_is_a_component(runs):
    labels = {component.label for component in ckpt_core.load(str(saved(runs))).manifest.components}
    expected = {"model", "model:1", "optimizer", "optimizer:1", "scheduler", "scheduler:1", "rng:0", "sampler"}
    assert labels == {*expected, "progress:custom_checkpoint_0"}


def test_a_position_in_the_data_is_what_an_exact_resume_needs(runs, assessed):
    assert assessed(saved(runs, "two"))[0] == "COMPLETE"
    verdict, lines = assessed(saved(runs, "plain"))
    assert (verdict, lines["sampler"]) == ("PARTIAL", "absent")


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_is_gone_flips_its_own_line(runs, copy_of, assessed, name):
    folder = copy_of(saved(runs))
    (folder / name).unlink()
    verdict, lines = assessed(folder)
    assert verdict == "PARTIAL"
    gone = [label for label, presence in lines.items() if presence == "absent"]
    assert gone == [{"rng:0": "rng"}.get(PARTS[name], PARTS[name])]


def test_an_object_that_was_registered_before_another_is_missed(runs, copy_of, assessed):
    folder = copy_of(saved(runs))
    (folder / "custom_checkpoint_0.pkl").rename(folder / "custom_checkpoint_1.pkl")
    assert assessed(folder, "resume")[1]["progress:custom_checkpoint_0"] == "absent"


@pytest.mark.parametrize("name", [*PARTS, "model_1.safetensors", "custom_checkpoint_0.pkl"])
def test_a_part_that_is_cut_short_is_unreadable_and_not_absent(runs, copy_of, assessed, name):
    folder = copy_of(saved(runs))
    with open(folder / name, "r+b") as file:
        file.truncate(100)
    verdict, lines = assessed(folder)
    assert verdict == "CORRUPT"
    label = {"model_1.safetensors": "model:1", "custom_checkpoint_0.pkl": "progress:custom_checkpoint_0"}
    assert lines[label.get(name) or PARTS[name]] == "unreadable"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "CK010"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "CK011"),
        (b"<!DOCTYPE html><html></html>", "CK012"),
        (bytes(100), "CK013"),
    ],
)
@pytest.mark.parametrize("name", ["model_1.safetensors", "optimizer.bin", "random_states_0.pkl"])
def test_what_lies_in_the_place_of_a_part_is_called_by_its_name(runs, copy_of, name, content, code):
    folder = copy_of(saved(runs))
    (folder / name).write_bytes(content)
    report = ckpt_core.verify(str(folder), profile=ckpt_core.Profile.RESUME).report
    assert report.assessment.verdict.value == "CORRUPT"
    assert [(finding.code, finding.path) for finding in report.findings if finding.severity > 1] == [(code, name)]


def test_a_missing_rank_is_named(runs, copy_of, assessed):
    folder = copy_of(saved(runs))
    shutil.copy(folder / "random_states_0.pkl", folder / "random_states_2.pkl")
    lines = assessed(folder)[1]
    assert [lines[f"rng:{rank}"] for rank in range(3)] == ["present", "absent", "present"]


def test_a_rank_of_any_number_costs_no_more_than_its_name(runs, copy_of, assessed):
    folder = copy_of(saved(runs))
    shutil.copy(folder / "random_states_0.pkl", folder / f"random_states_{10**17}.pkl")
    lines = assessed(folder)[1]
    assert lines["rng:others"] == "absent" and len(lines) < 100


def test_the_step_is_of_the_folders_name_for_accelerate_counts_other_things(runs):
    checkpoint = ckpt_core.load(str(saved(runs, number=1)))
    assert (checkpoint.match.step, checkpoint.manifest.step) == (1, None)


@pytest.mark.long
def test_the_newest_whole_one_is_found_and_accelerate_resumes_from_it(runs, copy_of, maker):
    run = copy_of(runs / "two")
    (run / "checkpoints" / "checkpoint_1" / "scheduler.bin").unlink()
    found = ckpt_core.locate(str(run / "checkpoints"), profile="exact-resume").require()
    assert found.url == str(run / "checkpoints" / "checkpoint_0")
    again = json.loads(maker(MAKER, "resume", found.url).rpartition("LOSSES ")[2])
    assert again == json.loads((runs / "two" / "losses.json").read_text())[3:]


def test_one_that_was_not_saved_to_its_end_is_recognised_and_not_complete(runs, copy_of, assessed):
    folder = copy_of(saved(runs))
    for name in ("random_states_0.pkl", "custom_checkpoint_0.pkl"):
        (folder / name).unlink()
    assert assessed(folder, "exact-resume")[0] == "PARTIAL"
    assert ckpt_core.load(str(folder)).match.format == "accelerate"


@pytest.mark.parametrize(
    ("beside", "format"),
    [("trainer_state.json", "hf-trainer"), ("pytorch_model_fsdp.bin", "fsdp"), ("training_state.pt", "training-state")],
)
def test_what_others_wrote_with_accelerate_is_theirs(runs, copy_of, beside, format):
    folder = copy_of(saved(runs))
    torch.save({"global_step": 1}, folder / beside)
    files = ckpt_core.list_files(str(folder))
    found = ckpt_core.get_plugin_manager().hooks.detect_format(files=files)
    assert (found.best.format, found.rivals) == (format, ())


def test_code_in_a_registered_object_is_refused_and_not_run(runs, copy_of, tmp_path):
    folder = copy_of(saved(runs))

    class Hostile:
        def __reduce__(self):
            return (eval, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    torch.save(Hostile(), folder / "custom_checkpoint_0.pkl")
    with pytest.raises(UnsafeContentError):
        ckpt_core.verify(str(folder))
    assert not (tmp_path / "ran").exists()
