"""What is called complete of transformers' Trainer under FSDP, the Trainer resumes from to the last bit, afresh.

Without its optimizer or its schedule it trains on in silence, with moments that begin anew: the verdict is PARTIAL.
"""

import json

import pytest
import torch

import ckpt_core

MAKER = "trainer_training.py"
NAME = "checkpoint-4"
STATE = {
    "scheduler.pt": "scheduler",
    "rng_state_0.pth": "rng:0",
    "rng_state_1.pth": "rng:1",
    "trainer_state.json": "progress",
}
SHARDED = {"pytorch_model_fsdp_0": "model", "optimizer_0": "optimizer"}
FULL = {"pytorch_model_fsdp.bin": "model:fsdp", "optimizer.bin": "optimizer"}
DAMAGED = {f"{folder}/{file}": SHARDED[folder] for folder in SHARDED for file in (".metadata", "__1_0.distcp")}
SILENT = {
    "no-scheduler": ("sharded", "scheduler.pt"),
    "no-optimizer": ("sharded", "optimizer_0"),
    "no-rng": ("sharded", "rng_state_1.pth"),
    "full-no-optimizer": ("full", "optimizer.bin"),
}
REFUSED = {
    "no-shard": ("sharded", "pytorch_model_fsdp_0/__1_0.distcp"),
    "no-state": ("sharded", "trainer_state.json"),
    "no-model": ("sharded", "pytorch_model_fsdp_0"),
    "full-no-model": ("full", "pytorch_model_fsdp.bin"),  # fails on one rank alone, and ends the process
}


@pytest.fixture(scope="session")
def runs(made):
    return made(MAKER, 2, "train")


@pytest.fixture(scope="session")
def final(runs):
    return json.loads((runs / "final.json").read_text())


@pytest.fixture(scope="session")
def outcomes(runs, copies, resumed):
    wanted = {kind: (kind, None) for kind in ("sharded", "full", "lora", "full-lora")}
    wanted |= {"full-no-weights": ("full", "model.safetensors"), **SILENT, **REFUSED}
    folders = copies({f"{name}-4": (runs / kind / NAME, gone) for name, (kind, gone) in wanted.items()})
    found = resumed(MAKER, [f"{kind}={folders[f'{name}-4']}" for name, (kind, _) in wanted.items()])
    return {name.removesuffix("-4"): outcome for name, outcome in found.items()}


@pytest.mark.parametrize("profile", ["inference", "resume", "exact-resume"])
@pytest.mark.parametrize("kind", ["sharded", "full"])
def test_what_the_trainer_saves_is_complete_for_every_purpose(runs, judged, kind, profile):
    code, verdict, lines = judged(runs / kind / NAME, profile)
    assert (code, verdict) == (0, "COMPLETE")
    needed = {*STATE.values(), *(SHARDED if kind == "sharded" else FULL).values(), "model"}
    assert {lines[label] for label in needed} == {"present"} and lines["sampler"] == "derived"


@pytest.mark.long
@pytest.mark.parametrize("kind", ["sharded", "full", "lora", "full-lora"])
def test_the_trainer_goes_on_from_it_as_if_nothing_had_happened(runs, outcomes, final, judged, kind):
    assert judged(runs / kind / NAME, "exact-resume")[1] == "COMPLETE"
    assert outcomes[kind] == final[kind]


def test_the_whole_state_dicts_are_read_as_torch_reads_them(runs):
    folder = runs / "full" / NAME
    checkpoint = ckpt_core.load(str(folder))
    stock = torch.load(folder / "pytorch_model_fsdp.bin", weights_only=True)
    for label in ("model", "model:fsdp"):
        read = checkpoint.to_torch(label)
        assert read.keys() == stock.keys() and all(torch.equal(read[name], stock[name]) for name in stock)
    optimizer = torch.load(folder / "optimizer.bin", weights_only=True)
    read = checkpoint.to_torch("optimizer")
    for name, moments in optimizer["state"].items():
        assert all(torch.equal(read[f"state.{name}.{key}"], moments[key]) for key in ("exp_avg", "exp_avg_sq", "step"))
    assert checkpoint.component("optimizer").state["param_groups"][0]["lr"] == optimizer["param_groups"][0]["lr"]


def test_an_adapter_and_its_copy_for_a_resume_are_adapters(runs, without):
    labels = {component.label for component in ckpt_core.load(str(runs / "full-lora" / NAME)).manifest.components}
    assert {"adapter", "adapter:fsdp", "optimizer"} <= labels and "model" not in labels
    assert without(runs / "full-lora" / NAME, "pytorch_model_fsdp.bin") == (4, "PARTIAL", {"adapter:fsdp": "absent"})


@pytest.mark.parametrize(
    ("kind", "name", "label"),
    [
        *(("sharded", name, label) for name, label in (STATE | SHARDED).items()),
        *(("full", name, label) for name, label in (STATE | FULL).items()),
    ],
)
def test_a_part_that_is_gone_flips_its_own_line(runs, without, kind, name, label):
    assert without(runs / kind / NAME, name) == (4, "PARTIAL", {label: "absent"})


@pytest.mark.parametrize(
    ("kind", "name", "label"),
    [*(("full", name, label) for name, label in (STATE | FULL | {"model.safetensors": "model"}).items())],
)
def test_a_file_that_is_cut_is_unreadable_and_not_absent(runs, without, kind, name, label):
    assert without(runs / kind / NAME, name, half=True) == (4, "CORRUPT", {label: "unreadable"})


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", DAMAGED)
def test_a_directory_that_lacks_a_file_or_has_a_cut_one_is_unreadable(runs, without, name, half):
    assert without(runs / "sharded" / NAME, name, half=half) == (4, "CORRUPT", {DAMAGED[name]: "unreadable"})


@pytest.mark.long
def test_one_copy_of_the_weights_is_enough_and_the_trainer_goes_on_from_it(runs, without, outcomes, final):
    """Under FSDP the Trainer reads its own copy; the other is what `from_pretrained` reads."""
    assert without(runs / "full" / NAME, "model.safetensors") == (0, "COMPLETE", {"model:fsdp": None})
    assert outcomes["full-no-weights"] == final["full"]


def test_the_arguments_say_where_a_resume_looks_where_both_files_are_gone(runs, copy_of, judged):
    folder = copy_of(runs / "full" / NAME, NAME)
    for name in FULL:
        (folder / name).unlink()
    code, verdict, lines = judged(folder, "resume")
    assert (code, verdict) == (4, "PARTIAL")
    assert (lines["model"], lines["model:fsdp"], lines["optimizer"]) == ("present", "absent", "absent")
    assert judged(folder, "inference")[1] == "COMPLETE"


@pytest.mark.long
@pytest.mark.parametrize("name", SILENT)
def test_the_trainer_goes_on_in_silence_from_what_is_partial_and_comes_to_something_else(outcomes, final, name):
    kind = SILENT[name][0]
    assert outcomes[name]["step"] == final[kind]["step"] and outcomes[name]["digest"] != final[kind]["digest"]


@pytest.mark.long
@pytest.mark.parametrize("name", REFUSED)
def test_the_trainer_fails_on_the_rest_of_what_is_not_complete(outcomes, name):
    reason = "Can't find a valid checkpoint" if name == "no-model" else f"/{name}-4/{REFUSED[name][1]}"
    assert reason in outcomes[name]["failed"]


def test_the_newest_whole_one_of_a_run_is_found(runs, copy_of):
    run = copy_of(runs / "full")
    (run / "checkpoint-6" / "optimizer.bin").unlink()
    assert ckpt_core.locate(str(run), profile="resume").require().name == NAME
