"""What is called complete of Lightning's sharded directories its Trainer resumes from in a fresh process; the rest not.

Lightning saves no random states and, of a plain loader, no position: an exact resume is not promised, and a model with
dropout shows why.
"""

import json

import pytest

import ckpt_core

MAKER = "lightning_training.py"
NAME = "epoch=1-step=4.ckpt"
EVERY = ["model", "optimizer", "scheduler", "progress", "progress:callbacks", "config"]
BROKEN = {"no-shard.ckpt": "__1_0.distcp", "no-metadata.ckpt": ".metadata", "no-meta.ckpt": "meta.pt"}
OF_META = {"scheduler": "absent", "progress": "absent", "progress:callbacks": None, "config": None}


@pytest.fixture(scope="session")
def runs(made):
    return made(MAKER, 2, "train")


@pytest.fixture(scope="session")
def final(runs):
    return json.loads((runs / "final.json").read_text())


@pytest.fixture(scope="session")
def outcomes(runs, copies, resumed):
    kinds = ("run", "plain", "noisy", "weights")
    wanted = {f"{kind}.ckpt": (runs / kind / NAME, None) for kind in kinds}
    folders = copies(wanted | {name: (runs / "run" / NAME, gone) for name, gone in BROKEN.items()})
    modules = {"plain.ckpt": "plain", "noisy.ckpt": "noisy"}
    return resumed(MAKER, [f"{modules.get(name, 'run')}={folder}" for name, folder in folders.items()])


@pytest.mark.parametrize("profile", ["inference", "resume"])
def test_what_lightning_saves_is_complete_to_train_on(runs, judged, profile):
    code, verdict, lines = judged(runs / "run" / NAME, profile)
    assert (code, verdict) == (0, "COMPLETE")
    assert {label: lines[label] for label in EVERY} == dict.fromkeys(EVERY, "present")


def test_an_exact_resume_is_not_promised(runs, judged):
    code, verdict, lines = judged(runs / "run" / NAME, "exact-resume")
    absent = {label for label, presence in lines.items() if presence == "absent"}
    assert (code, verdict, absent) == (4, "PARTIAL", {"rng", "sampler"})


def test_a_training_without_schedules_lacks_none(runs, judged):
    code, verdict, lines = judged(runs / "plain" / NAME, "resume")
    assert (code, verdict, lines["scheduler"]) == (0, "COMPLETE", "not needed")


@pytest.mark.parametrize("kind", ["run", "plain"])
def test_lightning_goes_on_from_it_as_if_nothing_had_happened(outcomes, final, kind):
    assert outcomes[f"{kind}.ckpt"] == final[kind]


def test_lightning_goes_on_with_other_random_numbers_in_silence(outcomes, final):
    found = outcomes["noisy.ckpt"]
    assert found["step"] == final["noisy"]["step"] and found["digest"] != final["noisy"]["digest"]


def test_weights_alone_are_complete_to_compute_with_and_lightning_does_not_train_on_from_them(runs, judged, outcomes):
    assert judged(runs / "weights" / NAME, "inference")[:2] == (0, "COMPLETE")
    code, verdict, lines = judged(runs / "weights" / NAME, "resume")
    assert (code, verdict, lines["optimizer"], lines["scheduler"]) == (4, "PARTIAL", "absent", "absent")
    assert "Missing key in checkpoint state_dict: optimizer_0" in outcomes["weights.ckpt"]["failed"]


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("shard", ["__0_0.distcp", "__1_0.distcp"])
def test_a_lost_or_cut_shard_makes_unreadable_what_it_held(runs, without, shard, half):
    code, verdict, flipped = without(runs / "run" / NAME, shard, "resume", half=half)
    assert (code, verdict) == (4, "CORRUPT")
    both = {"model": "unreadable", "optimizer": "unreadable"}
    assert flipped == both or (half and flipped.items() <= both.items() and flipped)


def test_a_meta_that_is_gone_takes_its_own_lines_with_it(runs, without):
    found = without(runs / "run" / NAME, "meta.pt", "resume")
    assert found == (4, "PARTIAL", OF_META)


def test_a_meta_that_is_cut_is_unreadable_and_not_absent(runs, without):
    code, verdict, flipped = without(runs / "run" / NAME, "meta.pt", "resume", half=True)
    broken = {"scheduler": "unreadable", "sampler": "unreadable", "progress": "unreadable"}
    assert (code, verdict, flipped) == (4, "CORRUPT", OF_META | broken)


@pytest.mark.parametrize("half", [False, True])
def test_without_the_metadata_nothing_is_read(runs, without, half):
    code, verdict, flipped = without(runs / "run" / NAME, ".metadata", "resume", half=half)
    assert (code, verdict, flipped["model"], flipped["optimizer"]) == (4, "CORRUPT", "unreadable", "unreadable")


def test_lightning_fails_where_a_file_is_missing(outcomes):
    assert "__1_0.distcp" in outcomes["no-shard.ckpt"]["failed"]
    assert ".metadata" in outcomes["no-metadata.ckpt"]["failed"]
    assert "valid checkpoint" in outcomes["no-meta.ckpt"]["failed"]


def test_the_newest_whole_one_of_a_run_is_found(runs, copy_of):
    run = copy_of(runs / "run")
    (run / "epoch=2-step=6.ckpt" / "meta.pt").unlink()
    assert ckpt_core.locate(str(run), profile="resume").require().name == NAME
