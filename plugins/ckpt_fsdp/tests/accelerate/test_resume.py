"""What is called complete of Accelerate under FSDP, `load_state` in a fresh process resumes from to the last bit.

It fails on most of what is not complete; on the rest it goes on in silence, and comes to something else.
"""

import json
import shutil

import pytest

import ckpt_core

MAKER = "accelerate_training.py"
EVERY = ["model", "optimizer", "scheduler", "rng:0", "rng:1", "sampler", "progress:custom_checkpoint_0"]
LOST = {
    "pytorch_model_fsdp_0": "model",
    "optimizer_0": "optimizer",
    "scheduler.bin": "scheduler",
    "random_states_0.pkl": "rng:0",
    "random_states_1.pkl": "rng:1",
    "dl_state_dict.bin": "sampler",
}
DAMAGED = {
    f"{folder}/{file}": label
    for folder, label in (("pytorch_model_fsdp_0", "model"), ("optimizer_0", "optimizer"))
    for file in (".metadata", "__0_0.distcp", "__1_0.distcp")
}
FILES = {
    "scheduler.bin": "scheduler",
    "scaler.pt": "scaler",
    "random_states_0.pkl": "rng:0",
    "random_states_1.pkl": "rng:1",
    "dl_state_dict.bin": "sampler",
    "custom_checkpoint_0.pkl": "progress:custom_checkpoint_0",
}
WHOLE = {"pytorch_model_fsdp.bin": "model", "optimizer.bin": "optimizer"}
REFUSED = ["pytorch_model_fsdp_0", "optimizer_0", "scheduler.bin", *DAMAGED]
SILENT = ["random_states_1.pkl", "dl_state_dict.bin"]


@pytest.fixture(scope="session")
def runs(made):
    return made(MAKER, 2, "train")


@pytest.fixture(scope="session")
def final(runs):
    return json.loads((runs / "final.json").read_text())


def saved(runs, kind="sharded", number=0):
    return runs / kind / "checkpoints" / f"checkpoint_{number}"


@pytest.fixture(scope="session")
def outcomes(runs, copies, resumed):
    """By what was taken away; `sharded`, `full` and `scaled` are whole."""
    sharded, full, scaled = (saved(runs, kind) for kind in ("sharded", "full", "scaled"))
    wanted = {"sharded": (sharded, None), "full": (full, None), "scaled": (scaled, None)}
    names = {f"lost-{number}": name for number, name in enumerate([*SILENT, *REFUSED, "custom_checkpoint_0.pkl"])}
    wanted |= {name: (sharded, gone) for name, gone in names.items()}
    wanted |= {"no-scaler": (scaled, "scaler.pt"), "full-no-optimizer": (full, "optimizer.bin")}
    folders = copies(wanted)
    # The last fails on one rank alone, and ends the process.
    kinds = {"full": "full", "full-no-optimizer": "full"}
    found = resumed(MAKER, [f"{kinds.get(name, 'sharded')}={folder}" for name, folder in folders.items()])
    return {names.get(name, name): outcome for name, outcome in found.items()}


@pytest.mark.parametrize("profile", ["inference", "resume", "exact-resume"])
@pytest.mark.parametrize("kind", ["sharded", "full"])
def test_what_accelerate_saves_is_complete_for_every_purpose(runs, judged, kind, profile):
    code, verdict, lines = judged(saved(runs, kind), profile)
    assert (code, verdict) == (0, "COMPLETE")
    assert lines == dict.fromkeys(EVERY, "present") | {"sampler": "derived"}


@pytest.mark.parametrize(("kind", "run"), [("sharded", "plain"), ("full", "plain"), ("scaled", "scaled")])
def test_accelerate_goes_on_from_it_as_if_nothing_had_happened(outcomes, final, kind, run):
    assert outcomes[kind] == final[run]


@pytest.mark.parametrize("name", LOST)
def test_a_part_that_is_gone_flips_its_own_line(runs, without, name):
    assert without(saved(runs), name) == (4, "PARTIAL", {LOST[name]: "absent"})


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", DAMAGED)
def test_a_directory_that_lacks_a_file_or_has_a_cut_one_is_unreadable_and_not_absent(runs, without, name, half):
    assert without(saved(runs), name, half=half) == (4, "CORRUPT", {DAMAGED[name]: "unreadable"})


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_is_unreadable_and_not_absent(runs, without, name):
    assert without(saved(runs, "scaled"), name, half=True) == (4, "CORRUPT", {FILES[name]: "unreadable"})


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_state_dict_that_is_cut_is_unreadable(runs, without, name):
    assert without(saved(runs, "full"), name, half=True) == (4, "CORRUPT", {WHOLE[name]: "unreadable"})


def test_a_whole_optimizer_that_is_gone_is_absent_and_accelerate_fails(runs, without, outcomes):
    assert without(saved(runs, "full"), "optimizer.bin") == (4, "PARTIAL", {"optimizer": "absent"})
    assert "optimizer.bin" in outcomes["full-no-optimizer"]["failed"]


def test_a_whole_model_that_is_gone_is_absent(runs, without):
    """What is left has the names that Accelerate gives without FSDP: lines that nobody needs come with its format."""
    code, verdict, flipped = without(saved(runs, "full"), "pytorch_model_fsdp.bin")
    assert (code, verdict, flipped) == (4, "PARTIAL", {"model": "absent", "config": "absent", "tokenizer": "absent"})


@pytest.mark.parametrize("name", REFUSED)
def test_accelerate_fails_on_what_is_not_complete_to_resume_from(outcomes, name):
    assert name.partition("/")[0] in outcomes[name]["failed"]


@pytest.mark.parametrize("name", SILENT)
def test_accelerate_goes_on_in_silence_from_what_is_partial_and_comes_to_something_else(outcomes, final, name):
    assert outcomes[name]["step"] == final["plain"]["step"] and outcomes[name]["digest"] != final["plain"]["digest"]


def test_what_nothing_else_tells_of_cannot_be_missed(runs, without, outcomes):
    """Accelerate itself knows of them from the program. Of whole state dicts nothing says how many ranks there were."""
    flipped = {"progress:custom_checkpoint_0": None, "progress": "derived"}
    assert without(saved(runs), "custom_checkpoint_0.pkl") == (0, "COMPLETE", flipped)
    assert "Number of custom checkpoints" in outcomes["custom_checkpoint_0.pkl"]["failed"]
    assert "scaler.pt" in outcomes["no-scaler"]["failed"]


@pytest.mark.parametrize(
    ("kind", "name", "label"), [("scaled", "scaler.pt", "scaler"), ("full", "random_states_1.pkl", "rng:1")]
)
def test_a_line_is_gone_with_the_only_file_that_tells_of_it(runs, without, kind, name, label):
    assert without(saved(runs, kind), name) == (0, "COMPLETE", {label: None})


@pytest.mark.parametrize("name", ["scheduler", "optimizer", "model"])
def test_one_that_comes_before_another_of_its_kind_or_belongs_to_one_is_missed(runs, copy_of, judged, name):
    """A second model with its optimizer and schedule, of which one is gone."""
    folder = copy_of(saved(runs))
    for first, second in (("pytorch_model_fsdp", ""), ("optimizer", ""), ("scheduler", ".bin")):
        if first.startswith(name) or (name == "model" and first == "pytorch_model_fsdp"):
            continue
        source = folder / (f"{first}.bin" if second else f"{first}_0")
        target = folder / f"{first}_1{second}"
        shutil.copy(source, target) if second else shutil.copytree(source, target)
    if name == "scheduler":
        (folder / "scheduler.bin").rename(folder / "scheduler_1.bin")
    code, verdict, lines = judged(folder, "resume")
    absent = [label for label, presence in lines.items() if presence == "absent"]
    assert (code, verdict, absent) == (4, "PARTIAL", [name if name == "scheduler" else f"{name}:1"])


@pytest.mark.parametrize(("folder", "label"), [("pytorch_model_fsdp_1", "model:1"), ("optimizer_1", "optimizer:1")])
def test_a_lost_shard_of_the_second_model_flips_its_line_and_not_the_first_ones(runs, copy_of, without, folder, label):
    two = copy_of(saved(runs), "two")
    for stem in ("pytorch_model_fsdp", "optimizer"):
        shutil.copytree(two / f"{stem}_0", two / f"{stem}_1")
    shutil.copy(two / "scheduler.bin", two / "scheduler_1.bin")
    assert without(two, f"{folder}/__1_0.distcp") == (4, "CORRUPT", {label: "unreadable"})


def test_the_newest_whole_one_of_a_run_is_found(runs, copy_of):
    run = copy_of(runs / "sharded" / "checkpoints")
    (run / "checkpoint_1" / "random_states_1.pkl").unlink()
    assert ckpt_core.locate(str(run), profile="resume").require().name == "checkpoint_1"
    assert ckpt_core.locate(str(run), profile="exact-resume").require().name == "checkpoint_0"
