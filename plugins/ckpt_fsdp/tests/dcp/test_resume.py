"""What is called complete of torch.distributed.checkpoint, a fresh process resumes from to the last bit; the rest not.

The training saves model, optimizer, schedule, the order of its data, random states a rank and its step, as loops on
FSDP2 do, with stock `dcp.save`; and its weights with HuggingFaceStorageWriter.
"""

import json

import pytest
from torch.distributed.checkpoint import FileSystemReader

import ckpt_core
from ckpt_core import Profile

MAKER = "dcp_training.py"
EVERY = ["model", "optimizer", "scheduler", "rng", "sampler", "progress"]
KEYS = {"step": "progress"}
SHARDS = ["shard-00001-model-00001-of-00001.safetensors", "shard-00002-model-00001-of-00001.safetensors"]


@pytest.fixture(scope="session")
def saved(made):
    return made(MAKER, 2, "train")


@pytest.fixture(scope="session")
def outcomes(saved, copies, resumed):
    step, weights = saved / "run" / "step-4", saved / "weights"
    broken = copies(
        {
            "no-metadata": (step, ".metadata"),
            "no-shard": (step, "__1_0.distcp"),
            "no-last-shard": (weights, SHARDS[1]),
            "no-first-shard": (weights, SHARDS[0]),
        }
    )
    return resumed(MAKER, [step, *sorted(saved.glob("without-*")), weights, *broken.values()])


@pytest.fixture(scope="session")
def final(saved):
    return json.loads((saved / "final.json").read_text())


@pytest.mark.parametrize("profile", ["inference", "resume", "exact-resume"])
def test_what_a_training_saves_is_complete_for_every_purpose(saved, judged, profile):
    lines = dict.fromkeys(EVERY, "present")
    code, verdict, found = judged(saved / "run" / "step-4", profile)
    assert (code, verdict) == (0, "COMPLETE") and found == lines


def test_a_fresh_process_goes_on_from_it_as_if_nothing_had_happened(outcomes, final):
    assert outcomes["step-4"] == final


@pytest.mark.parametrize("key", ["model", "optimizer", "scheduler", "rng", "sampler", "step"])
def test_a_key_that_was_not_saved_is_absent_alone_and_torch_refuses_to_load_it(saved, judged, outcomes, key):
    label = KEYS.get(key, key)
    code, verdict, lines = judged(saved / f"without-{key}")
    assert (code, verdict, lines) == (4, "PARTIAL", dict.fromkeys(EVERY, "present") | {label: "absent"})
    assert f"Missing key in checkpoint state_dict: {key}" in outcomes[f"without-{key}"]["failed"]


def test_torch_resumes_in_silence_from_what_is_partial_where_it_is_told_to_load_a_part(outcomes, final):
    found = outcomes["without-optimizer, in part"]
    assert found["step"] == final["step"] and found["digest"] != final["digest"]


def owners(folder, shard):
    """The components that have something in a shard, as torch's own reader of the metadata says."""
    stored = FileSystemReader(folder).read_metadata().storage_data
    top = {index.fqn.partition(".")[0] for index, info in stored.items() if info.relative_path == shard}
    return {KEYS.get(key, key) for key in top}


@pytest.mark.parametrize("shard", ["__0_0.distcp", "__1_0.distcp"])
def test_a_lost_shard_flips_the_lines_of_what_it_held_and_no_other(saved, without, shard):
    folder = saved / "run" / "step-4"
    held = owners(folder, shard)
    assert len(held) > 2
    assert without(folder, shard) == (4, "CORRUPT", dict.fromkeys(held, "unreadable"))


@pytest.mark.parametrize("shard", ["__0_0.distcp", "__1_0.distcp"])
def test_a_cut_shard_flips_lines_of_what_it_held_to_unreadable_and_none_to_absent(saved, without, shard):
    folder = saved / "run" / "step-4"
    code, verdict, flipped = without(folder, shard, half=True)
    assert (code, verdict) == (4, "CORRUPT")
    assert flipped and set(flipped) <= owners(folder, shard) and set(flipped.values()) == {"unreadable"}


@pytest.mark.parametrize("half", [False, True])
def test_without_the_metadata_nothing_can_be_read(saved, without, half):
    code, verdict, flipped = without(saved / "run" / "step-4", ".metadata", half=half)
    assert (code, verdict, set(flipped.values())) == (4, "CORRUPT", {"unreadable"})


def test_torch_fails_where_a_file_is_missing(outcomes):
    assert "__1_0.distcp" in outcomes["no-shard"]["failed"]
    assert ".metadata" in outcomes["no-metadata"]["failed"]


def test_the_newest_whole_one_of_a_run_is_found(saved, copy_of):
    run = copy_of(saved / "run")
    assert ckpt_core.locate(str(run), profile="exact-resume").require().name == "step-4"
    (run / "step-4" / "__0_0.distcp").unlink()
    assert ckpt_core.locate(str(run), profile="resume").require().name == "step-2"


def test_weights_by_the_writer_of_hugging_face_are_complete_to_compute_with_and_no_more(saved, judged):
    assert judged(saved / "weights", "inference")[:2] == (0, "COMPLETE")
    code, verdict, lines = judged(saved / "weights", "resume")
    assert (code, verdict) == (4, "PARTIAL")
    absent = dict.fromkeys(["optimizer", "progress"], "absent")
    assert lines == {"model": "present", "scheduler": "not needed", **absent}


def test_a_fresh_process_has_the_weights_of_the_last_step(outcomes, final):
    assert outcomes["weights"]["digest"] == final["digest"]


@pytest.mark.parametrize(("shard", "half"), [(SHARDS[0], False), (SHARDS[0], True), (SHARDS[1], True)])
def test_a_lost_or_cut_shard_of_weights_is_unreadable(saved, without, shard, half):
    assert without(saved / "weights", shard, "inference", half=half) == (4, "CORRUPT", {"model": "unreadable"})


def test_a_lost_last_shard_is_only_known_by_the_number_of_ranks_which_no_file_has(saved, copy_of):
    """The format has neither a number of ranks nor shapes: this may be the whole of a save of one rank."""
    folder = copy_of(saved / "weights")
    (folder / SHARDS[1]).unlink()
    report = ckpt_core.verify(str(folder), profile=Profile.INFERENCE).report
    assert (report.assessment.verdict.value, [f.code for f in report.findings]) == ("COMPLETE", ["DC053"])
    told = ckpt_core.verify(str(folder), profile=Profile.INFERENCE, options={"world_size": 2}).report
    assert told.assessment.summary == f"CORRUPT for inference: model unreadable ({SHARDS[1]})"


def test_torch_notices_a_lost_last_shard_by_the_shapes_of_its_model_and_loads_in_silence_without_the_first(
    outcomes, final
):
    assert "Size mismatch" in outcomes["no-last-shard"]["failed"]
    assert outcomes["no-first-shard"].keys() == final.keys() and outcomes["no-first-shard"]["digest"] != final["digest"]
