"""Which checkpoints of a place are of one run, what is asked where there are several, and that the answer works."""

import json
import os
import re

import pytest
import torch
from safetensors.torch import save_file

import ckpt_core
from ckpt_core.errors import AmbiguousRunError, IncompleteError
from ckpt_core.schema.verification import VerifyRequest
from ckpt_core.verbs.load import find
from ckpt_core.verbs.verify import verify_members

SMALL, LARGE = {"w": (2, 2), "b": (2,)}, {"w": (4, 4), "b": (4,)}


def weights(shapes):
    return {name: torch.ones(shape) for name, shape in shapes.items()}


def training(shapes=SMALL, counter="step", step=1, **more):
    states = {index: {"exp_avg": torch.ones(shape)} for index, shape in enumerate(shapes.values())}
    optimizer = {"state": states, "param_groups": [{"lr": 0.1, "params": list(states)}]}
    return {"model": weights(shapes), "optimizer": optimizer, counter: step, **more}


def put(root, **files):
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, path.with_suffix(".pt"))


def folder(root, name, step=None, shapes=SMALL, *, trained=True):
    place = root / name
    place.mkdir(parents=True)
    save_file(weights(shapes), place / "model.safetensors", metadata={"format": "pt"})
    (place / "config.json").write_text(json.dumps({"model_type": "llama"}))
    if trained:
        torch.save(training(shapes)["optimizer"], place / "optimizer.pt")
        torch.save({"last_epoch": 1}, place / "scheduler.pt")
        (place / "trainer_state.json").write_text(json.dumps({"global_step": step}))


def resolve(root, profile="resume", **more):
    return ckpt_core.locate(str(root), profile=profile, **more)


def chosen(root, profile="resume"):
    return os.path.relpath(resolve(root, profile).require().url, root)


def refs(root, profile="resume"):
    """What the answer says to name, each asked again: the checkpoint it leads to, by ref."""
    with pytest.raises(AmbiguousRunError) as caught:
        resolve(root, profile).require()
    assert caught.value.exit_code == 2
    named = [choice.ref for choice in resolve(root, profile).choices]
    assert re.search(r"name one, as (.*)$", str(caught.value))[1] == named[0]
    return {os.path.relpath(ref, root): os.path.relpath(resolve(ref, profile).require().url, root) for ref in named}


def test_two_models_side_by_side_are_two_runs(tmp_path):
    put(tmp_path, gen_1=training(SMALL), gen_2=training(SMALL, step=2))
    put(tmp_path, disc_1=training(LARGE), disc_2=training(LARGE, step=7))
    assert refs(tmp_path) == {"../" + f"{tmp_path.name}#disc_*": "disc_2.pt", f"../{tmp_path.name}#gen_*": "gen_2.pt"}


def test_other_names_of_weights_are_another_run(tmp_path):
    put(tmp_path, a=training({"encoder.w": (2,)}), b=training({"decoder.w": (2,)}, step=9))
    assert sorted(refs(tmp_path).values()) == ["a.pt", "b.pt"]


def test_another_trainers_counter_is_another_run(tmp_path):
    put(tmp_path, ckpt=training(counter="iter_num", step=5000), last=training(counter="iteration", step=9))
    assert sorted(refs(tmp_path).values()) == ["ckpt.pt", "last.pt"]


def test_the_same_model_in_two_folders_is_two_runs(tmp_path):
    folder(tmp_path, "a/checkpoint-1", 1)
    folder(tmp_path, "a/checkpoint-2", 2)
    folder(tmp_path, "b/checkpoint-9", 9)
    assert refs(tmp_path) == {"a": "a/checkpoint-2", "b": "b/checkpoint-9"}
    assert refs(tmp_path, "inference") == {"a": "a/checkpoint-2", "b": "b/checkpoint-9"}


def test_files_below_folders_are_found_and_asked_about(tmp_path):
    put(tmp_path, a__step_1=training(), a__step_2=training(step=2), b__step_9=training(step=9))
    assert refs(tmp_path) == {"a": "a/step_2.pt", "b": "b/step_9.pt"}
    put(tmp_path, c__last=training(step=5))
    assert refs(tmp_path)["c"] == "c/last.pt"


def test_files_below_folders_of_one_run_are_compared(tmp_path):
    put(tmp_path, weights__last=training(step=50), weights__best=training(step=30), weights__epoch_1=training(step=10))
    assert chosen(tmp_path) == "weights/last.pt"


@pytest.mark.parametrize("name", ["features", "optimizer", "embeddings_v2", "rng_state_0", "full_sft_512"])
def test_a_file_below_a_folder_that_no_trainer_names_so_is_no_checkpoint(tmp_path, name):
    put(tmp_path, **{f"data__{name}": training()})
    assert resolve(tmp_path).error().exit_code == 3


def test_a_file_inside_a_checkpoint_is_no_other_checkpoint(tmp_path):
    folder(tmp_path, "checkpoint-1", 1)
    put(tmp_path, **{"checkpoint-1__global_step9": training(step=9), "checkpoint-1__sub__last": training(step=9)})
    assert chosen(tmp_path) == "checkpoint-1"


def test_runs_that_are_numbered_themselves_are_runs(tmp_path):
    for run, step in ((1, 300), (2, 100)):
        folder(tmp_path, f"{run}/checkpoint-{step}", step)
    assert refs(tmp_path) == {"1": "1/checkpoint-300", "2": "2/checkpoint-100"}


def test_an_adapter_is_no_checkpoint_of_the_model_beside_it(tmp_path):
    folder(tmp_path, "merged", trained=False)
    adapter = tmp_path / "checkpoint-5"
    adapter.mkdir()
    factors = {f"base_model.model.w.lora_{name}.weight": torch.ones(2, 2) for name in "AB"}
    save_file(factors, adapter / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "target_modules": ["w"]}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    assert sorted(refs(tmp_path, "inference").values()) == ["checkpoint-5", "merged"]


def test_a_run_that_lacks_something_is_named_with_what_it_lacks(tmp_path):
    put(tmp_path, a_5=training(SMALL, step=5), b_7={"model": weights(LARGE), "step": 7})
    with pytest.raises(
        AmbiguousRunError, match=r"a_5.pt.*step 5.*b_7.pt.*step 7, PARTIAL for resume: optimizer absent"
    ):
        resolve(tmp_path).require()


ONE_RUN = {
    "numbered folders": ["checkpoint-9", "checkpoint-10", "checkpoint-100"],
    "the best and the last beside them": ["checkpoint-9", "best_model", "checkpoint-100"],
    "a final one with a word behind": ["checkpoint-9", "checkpoint-100-final", "checkpoint-last"],
    "a level of its own": ["checkpoints/step_9", "checkpoints/step_100"],
    "the final one above them": ["final", "checkpoints/checkpoint-9", "checkpoints/checkpoint-100"],
    "a folder for a number alone": ["0000009/model", "0000100/model"],
}


@pytest.mark.parametrize("names", ONE_RUN.values(), ids=ONE_RUN)
def test_the_checkpoints_of_one_run_are_compared(tmp_path, names):
    for name in names:
        numbers = [int(number) for number in re.findall(r"\d+", name)]
        folder(tmp_path, name, numbers[-1] if numbers else 7)
    assert "100" in chosen(tmp_path)


def test_the_output_of_a_training_and_its_checkpoints_are_one_run(tmp_path):
    folder(tmp_path, "out", trained=False)
    folder(tmp_path, "out/checkpoint-1", 1)
    folder(tmp_path, "out/checkpoint-2", 2)
    assert chosen(tmp_path / "out") == "checkpoint-2"
    assert chosen(tmp_path / "out", "inference") == "."


def test_a_tied_head_that_some_writers_leave_out_makes_no_other_run(tmp_path):
    many = {f"layers.{index}.w": (2,) for index in range(20)}
    put(tmp_path, step_1=training({**many, "lm_head.w": (2,)}), step_2=training(many, step=2))
    assert chosen(tmp_path) == "step_2.pt"


def test_wrapped_and_plain_weights_are_of_one_run(tmp_path):
    put(tmp_path, step_1=training({f"module.{name}": shape for name, shape in SMALL.items()}))
    put(tmp_path, step_2=training({f"_orig_mod.{name}": shape for name, shape in SMALL.items()}, step=2))
    assert chosen(tmp_path) == "step_2.pt"


def test_halved_weights_are_of_the_run_they_were_taken_from(tmp_path):
    put(tmp_path, last=training(step=5), best={"model": {k: v.half() for k, v in weights(SMALL).items()}, "step": 3})
    assert chosen(tmp_path) == "last.pt"


def test_a_copy_of_the_newest_gives_way_to_the_one_whose_name_has_the_step(tmp_path):
    put(tmp_path, a_last=training(step=8), epoch_1_step_8=training(step=8), step_4=training(step=4))
    assert chosen(tmp_path) == "epoch_1_step_8.pt"


def test_steps_that_begin_anew_with_each_epoch_are_compared_epoch_by_epoch(tmp_path):
    put(tmp_path, a=training(step=900, epoch=1), b=training(step=10, epoch=2), c=training(step=500, epoch=0))
    assert chosen(tmp_path) == "b.pt"


def test_where_some_count_epochs_alone_epochs_are_compared(tmp_path):
    put(tmp_path, a=training(step=900, epoch=1), b={**training(step=None), "epoch": 2})
    assert chosen(tmp_path) == "b.pt"


def test_an_epoch_and_a_step_are_never_compared(tmp_path):
    put(tmp_path, a=training(step=5), b={**training(step=None), "epoch": 900})
    assert sorted(refs(tmp_path).values()) == ["a.pt", "b.pt"]


def test_every_folder_that_is_named_for_a_later_step_is_told(tmp_path):
    folder(tmp_path, "checkpoint-100", 100)
    (tmp_path / "checkpoint-300").mkdir()
    (tmp_path / "checkpoint-200").mkdir()
    (tmp_path / "checkpoint-200" / "tokenizer.json").write_text("{}")
    (tmp_path / "checkpoint-50").mkdir()
    found = resolve(tmp_path)
    assert found.require().url.endswith("checkpoint-100")
    told = [(os.path.basename(a.candidate.url), a.detail) for a in found.attempts if a.outcome.value == "rejected"]
    assert [name for name, _ in told] == ["checkpoint-300", "checkpoint-200"]
    assert "an empty folder" in told[0][1] and "tokenizer.json" in told[1][1]


def test_where_none_is_complete_the_newest_is_named_even_if_it_is_empty(tmp_path):
    put(tmp_path, step_1={"model": weights(SMALL), "step": 1})
    (tmp_path / "step_2").mkdir()
    with pytest.raises(
        IncompleteError, match=r"no checkpoint of 2 is complete for resume; the newest is .*step_2 \(an empty"
    ):
        resolve(tmp_path).require()


def test_the_folders_inside_a_checkpoint_are_not_told(tmp_path):
    folder(tmp_path, "checkpoint-100", 100)
    (tmp_path / "checkpoint-100" / "global_step100").mkdir()
    assert [a for a in resolve(tmp_path).attempts if a.outcome.value == "rejected"] == []


def test_one_whose_step_is_not_known_is_told_beside_the_newest(tmp_path):
    folder(tmp_path, "checkpoint-1", 1)
    folder(tmp_path, "best_model", trained=False)
    found = resolve(tmp_path, "inference")
    assert found.require().url.endswith("checkpoint-1")
    assert [os.path.basename(a.candidate.url) for a in found.attempts if a.outcome.value == "rejected"] == [
        "best_model"
    ]


def test_a_pattern_names_several_checkpoints(tmp_path):
    put(tmp_path, gen_1=training(), gen_2=training(step=2), other_9=training(step=9))
    assert resolve(f"{tmp_path}#gen_*").require().url.endswith("gen_2.pt")


def test_a_scheduler_that_another_checkpoint_of_the_run_has_is_missed(tmp_path):
    put(tmp_path, step_1=training(scheduler={"last_epoch": 1}), step_2=training(step=2))
    found = resolve(tmp_path)
    assert found.require().url.endswith("step_1.pt")
    assert "scheduler absent (step_1.pt of the same run has one)" in found.attempts[-2].detail
    put(tmp_path, step_1=training())
    assert chosen(tmp_path) == "step_2.pt"


def test_verify_of_a_folder_knows_what_the_run_has(tmp_path):
    put(tmp_path, step_1=training(scheduler={"last_epoch": 1}), step_2=training(step=2))
    put(tmp_path, other_1=training(LARGE))
    place = find(str(tmp_path))
    request = VerifyRequest(profile=ckpt_core.Profile.RESUME)
    verdicts = {
        os.path.basename(one.place.files.location.url): one.report.assessment.summary
        for one in verify_members(place, request)
    }
    assert verdicts == {
        "step_1.pt": "COMPLETE for resume; finite: not checked",
        "step_2.pt": "PARTIAL for resume: scheduler absent (step_1.pt of the same run has one)",
        "other_1.pt": "COMPLETE for resume; finite: not checked",
    }
