"""Rank files as verl saves them under FSDP: what is called complete torch goes on from as verl does, bit for bit."""

import json
import shutil

import pytest
import torch

import ckpt_core
from ckpt_core import Profile
from ckpt_core.cli.main import main

STEP = "global_step_2/actor"
MODEL, OPTIM, EXTRA = (f"{part}_world_size_2_rank_1.pt" for part in ("model", "optim", "extra_state"))


@pytest.fixture(scope="session")
def saves(made):
    return made("ranks_resume.py", 2)


def without(key):
    """Takes a key from what rank 1 keeps besides weights and optimizer."""

    def change(folder):
        extra = torch.load(folder / EXTRA, weights_only=False)
        del extra[key]
        torch.save(extra, folder / EXTRA)

    return change


def unlinked(name):
    return lambda folder: (folder / name).unlink()


BROKEN = {
    "no-model": unlinked(MODEL),
    "no-optimizer": unlinked(OPTIM),
    "no-extra": unlinked(EXTRA),
    "no-rng": without("rng"),
    "no-schedule": without("lr_scheduler"),
}


@pytest.fixture(scope="session")
def broken(saves, tmp_path_factory):
    """Copies of what FSDP2 saved, each with something of rank 1 taken away: by name."""
    folder = tmp_path_factory.mktemp("broken")
    for name, change in BROKEN.items():
        shutil.copytree(saves / "fsdp2", folder / name)
        change(folder / name / STEP)
    return folder


@pytest.fixture(scope="session")
def resumed(saves, broken, tmp_path_factory, torchrun):
    """What a fresh process a rank made of each."""
    out = tmp_path_factory.mktemp("resumed")
    jobs = [{"name": kind, "kind": kind, "folder": str(saves / kind / STEP)} for kind in ("fsdp1", "fsdp2")]
    jobs += [{"name": name, "kind": "fsdp2", "folder": str(broken / name / STEP)} for name in BROKEN]
    (out / "jobs.json").write_text(json.dumps(jobs))
    torchrun("ranks_resume.py", 2, out, out / "jobs.json")
    return json.loads((out / "resumed.json").read_text())


@pytest.fixture(scope="session")
def whole(saves):
    """What the runs came to that were not stopped."""
    return json.loads((saves / "whole.json").read_text())


def assessed(folder, profile):
    """The verdict, and what became of each component."""
    found = ckpt_core.verify(str(folder), profile=Profile(profile)).report.assessment
    return found.verdict.value, {line.role.label: line.role.presence.value for line in found.lines}


def flipped(before, after):
    return {label: after.get(label, "gone") for label in {*before, *after} if before.get(label) != after.get(label)}


def exit_code(capsys, folder, profile):
    code = main(["verify", str(folder), "--format", "fsdp-ranks", "--for", profile, "-q"])
    capsys.readouterr()
    return code


@pytest.mark.parametrize("kind", ["fsdp1", "fsdp2"])
def test_what_verl_saves_is_complete(saves, capsys, kind):
    for profile in ("inference", "resume"):
        assert assessed(saves / kind / STEP, profile)[0] == "COMPLETE"
        assert exit_code(capsys, saves / kind / STEP, profile) == 0


@pytest.mark.long
@pytest.mark.parametrize("kind", ["fsdp1", "fsdp2"])
def test_from_what_verl_saves_a_run_goes_on_bit_for_bit(resumed, whole, kind):
    assert resumed[kind] == {"digests": whole[kind]}


@pytest.mark.parametrize("kind", ["fsdp1", "fsdp2"])
def test_an_exact_resume_lacks_the_position_in_the_data_alone(saves, kind):
    report = ckpt_core.verify(str(saves / kind / STEP), profile=Profile.EXACT_RESUME).report
    assert report.assessment.summary == "PARTIAL for exact-resume: sampler absent"


@pytest.mark.parametrize(
    ("kind", "name", "lines", "verdict"),
    [
        ("fsdp2", MODEL, {"model": "unreadable"}, "CORRUPT"),
        ("fsdp2", OPTIM, {"optimizer": "unreadable"}, "CORRUPT"),
        ("fsdp2", EXTRA, {"rng:1": "absent"}, "PARTIAL"),
        ("fsdp1", MODEL, {"model": "unreadable"}, "CORRUPT"),
        ("fsdp1", OPTIM, {"optimizer:1": "absent"}, "PARTIAL"),
    ],
)
def test_a_lost_file_of_a_rank_flips_its_own_line(saves, copy_of, capsys, kind, name, lines, verdict):
    folder = copy_of(saves / kind) / STEP
    before = assessed(folder, "resume")[1]
    (folder / name).unlink()
    found, after = assessed(folder, "resume")
    assert (found, flipped(before, after)) == (verdict, lines)
    assert exit_code(capsys, folder, "resume") == 4


@pytest.mark.parametrize(
    ("kind", "name", "line"),
    [
        ("fsdp2", MODEL, "model"),
        ("fsdp2", OPTIM, "optimizer"),
        ("fsdp2", EXTRA, "rng:1"),
        ("fsdp1", OPTIM, "optimizer:1"),
    ],
)
def test_a_cut_file_of_a_rank_is_unreadable_and_not_absent(saves, copy_of, capsys, kind, name, line):
    folder = copy_of(saves / kind) / STEP
    before = assessed(folder, "resume")[1]
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    verdict, after = assessed(folder, "resume")
    assert (verdict, flipped(before, after)) == ("CORRUPT", {line: "unreadable"})
    assert exit_code(capsys, folder, "resume") == 4


@pytest.mark.long
@pytest.mark.parametrize("name", ["no-model", "no-optimizer", "no-extra", "no-schedule"])
def test_a_run_stops_at_what_is_not_complete(broken, resumed, name):
    assert assessed(broken / name / STEP, "resume")[0] != "COMPLETE"
    assert resumed[name]["errors"][0] is None  # the other rank alone stops
    assert ("KeyError" if name == "no-schedule" else "FileNotFoundError") in resumed[name]["errors"][1]


@pytest.mark.long
def test_without_a_random_state_a_run_goes_on_in_silence_and_comes_to_something_else(broken, resumed, whole):
    assert assessed(broken / "no-rng" / STEP, "resume")[0] == "COMPLETE"
    verdict, lines = assessed(broken / "no-rng" / STEP, "exact-resume")
    assert (verdict, lines["rng:0"], lines["rng:1"]) == ("PARTIAL", "present", "absent")
    assert resumed["no-rng"]["digests"] != whole["fsdp2"]


def test_without_its_step_in_a_name_verl_cannot_go_on(saves, copy_of):
    folder = shutil.move(copy_of(saves / "fsdp2") / STEP, copy_of(saves / "fsdp2", "other").parent / "weights")
    assert assessed(folder, "resume")[1]["progress"] == "absent"


def test_the_newest_whole_step_is_found(saves, copy_of, capsys):
    run = copy_of(saves / "fsdp2", "run")
    shutil.copytree(run / "global_step_2", run / "global_step_4")
    (run / "global_step_4" / "actor" / EXTRA).unlink()
    assert main(["locate", str(run), "--for", "resume", "-q"]) == 0
    assert capsys.readouterr().out.strip() == str(run / STEP)
