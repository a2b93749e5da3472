"""transformers' Trainer on DeepSpeed: what is called complete it goes on from, bit for bit, by DeepSpeed's pointer."""

import json
import shutil

import pytest

import ckpt_core
from ckpt_core import Profile
from ckpt_core.cli.main import main

TAG = "global_step2"


def unlinked(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


BROKEN = {
    "no-scheduler": (unlinked("scheduler.pt"), {"scheduler": "absent"}, "PARTIAL", "FileNotFoundError"),
    "no-state": (unlinked("trainer_state.json"), {"progress": "absent"}, "PARTIAL", "FileNotFoundError"),
    "no-pointer": (unlinked("latest"), {"progress:latest": "absent"}, "PARTIAL", "failed to resume"),
    "astray": (lambda folder: (folder / "latest").write_text("global_step9"), {}, "CORRUPT", "AssertionError"),
}
RNG = unlinked("rng_state_0.pth", "rng_state_1.pth")


@pytest.fixture(scope="session")
def saves(made):
    return made("deepspeed_trainer_resume.py", 2)


@pytest.fixture(scope="session")
def broken(saves, tmp_path_factory):
    """Copies of checkpoint-2, each with something wrong: by name."""
    folder = tmp_path_factory.mktemp("broken")
    changes = {name: change for name, (change, *_) in BROKEN.items()}
    changes |= {"no-rng": RNG, "no-tag": lambda f: shutil.rmtree(f / TAG), "no-weights": unlinked("model.safetensors")}
    for name, change in changes.items():
        change(shutil.copytree(saves / "run" / "checkpoint-2", folder / name / "checkpoint-2"))
    return folder


@pytest.fixture(scope="session")
def resumed(saves, broken, tmp_path_factory, torchrun):
    """What the Trainer made of each, in a fresh process a rank."""
    out = tmp_path_factory.mktemp("resumed")
    jobs = [{"name": "whole", "folder": str(saves / "run" / "checkpoint-2")}]
    jobs += [{"name": path.name, "folder": str(path / "checkpoint-2")} for path in sorted(broken.iterdir())]
    (out / "jobs.json").write_text(json.dumps(jobs))
    torchrun("deepspeed_trainer_resume.py", 2, out, out / "jobs.json")
    return json.loads((out / "resumed.json").read_text())


@pytest.fixture(scope="session")
def whole(saves):
    """What the run came to that was not stopped."""
    return json.loads((saves / "whole.json").read_text())


def assessed(folder, profile):
    """The verdict, and what became of each component."""
    found = ckpt_core.verify(str(folder), profile=Profile(profile)).report.assessment
    return found.verdict.value, {line.role.label: line.role.presence.value for line in found.lines}


def flipped(before, after):
    return {label: after.get(label, "gone") for label in {*before, *after} if before.get(label) != after.get(label)}


def test_what_the_trainer_saved_is_complete(saves):
    for profile in ("inference", "resume", "exact-resume"):
        assert assessed(saves / "run" / "checkpoint-2", profile)[0] == "COMPLETE"


@pytest.mark.long
def test_from_what_it_saved_the_trainer_goes_on_bit_for_bit(resumed, whole):
    assert resumed["whole"] == whole


@pytest.mark.long
@pytest.mark.parametrize("name", list(BROKEN))
def test_what_is_not_complete_the_trainer_refuses(saves, broken, resumed, capsys, name):
    _, lines, verdict, reason = BROKEN[name]
    before = assessed(saves / "run" / "checkpoint-2", "resume")[1]
    found, after = assessed(broken / name / "checkpoint-2", "resume")
    beside = {"progress:global_step2": "gone"} if name == "no-state" else {}  # DeepSpeed's own count takes the name
    assert (found, flipped(before, after)) == (verdict, lines | beside)
    assert main(["verify", str(broken / name / "checkpoint-2"), "--for", "resume", "-q"]) == 4
    assert reason in resumed[name]["error"]


@pytest.mark.long
def test_without_the_tag_the_optimizer_is_absent_and_the_trainer_refuses(broken, resumed):
    verdict, lines = assessed(broken / "no-tag" / "checkpoint-2", "resume")
    assert (verdict, lines["optimizer"], lines["model"]) == ("PARTIAL", "absent", "present")
    assert "Can't find a valid checkpoint" in resumed["no-tag"]["error"]


@pytest.mark.long
def test_without_random_states_the_trainer_goes_on_in_silence_and_comes_to_something_else(broken, resumed, whole):
    assert assessed(broken / "no-rng" / "checkpoint-2", "resume")[0] == "COMPLETE"
    verdict, lines = assessed(broken / "no-rng" / "checkpoint-2", "exact-resume")
    assert (verdict, lines["rng:0"], lines["rng:1"]) == ("PARTIAL", "absent", "absent")
    assert resumed["no-rng"]["digest"] != whole["digest"]


@pytest.mark.long
def test_the_weights_beside_the_tag_are_for_computing_and_no_resume_needs_them(broken, resumed, whole):
    assert assessed(broken / "no-weights" / "checkpoint-2", "exact-resume")[0] == "COMPLETE"
    assert resumed["no-weights"] == whole


PAGE = "<p>Sign in</p>\n" * 400


@pytest.mark.parametrize("said", ["global_step9", "global_step4", "", PAGE], ids=["9", "4", "empty", "page"])
def test_a_pointer_astray_is_passed_over_and_named(saves, copy_of, capsys, said):
    run = copy_of(saves / "run")
    (run / "checkpoint-4" / "latest").write_text(said)
    assert main(["locate", str(run), "--for", "resume"]) == 0
    done = capsys.readouterr()
    if said == "global_step4":
        assert done.out.split()[0] == str(run / "checkpoint-4")
        return
    assert done.out.split()[0] == str(run / "checkpoint-2")
    assert "checkpoint-4: CORRUPT for resume; latest: " in done.err


def test_of_two_tags_the_one_that_is_pointed_to_is_read(saves, copy_of):
    folder = copy_of(saves / "run") / "checkpoint-4"
    shutil.copytree(saves / "run" / "checkpoint-2" / TAG, folder / TAG)
    (folder / "latest").write_text(TAG)
    opened = ckpt_core.load(str(folder))
    assert [part.root for part in opened.match.parts] == [TAG]
