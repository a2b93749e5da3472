"""BAGEL's four training directories: what is called complete a trainer goes on from, bit for bit.

There is no public tool that resumes from all of them. The oracle is a small trainer (makers/bagel_resume.py) that saves
and resumes as BAGEL's own code and its forks' do, what a missing file leads to included.
"""

import json
import shutil

import pytest

import ckpt_core
from ckpt_core import Profile
from ckpt_core.cli.main import main

KINDS = ["dcp", "ranks", "fsdp2", "upstream"]
STEP = "0000002"

BROKEN = {
    "dcp-no-metadata-of-shards": ("dcp", "model_sharded/.metadata"),
    "dcp-no-shard": ("dcp", "ema_sharded/__1_0.distcp"),
    "dcp-no-optimizer": ("dcp", "optimizer_rank*"),
    "upstream-no-optimizer": ("upstream", "optimizer.00001-of-00002.pt"),
    "upstream-no-schedule": ("upstream", "scheduler.pt"),
    "upstream-no-average": ("upstream", "ema.safetensors"),
    "upstream-no-position": ("upstream", "data_status.pt"),
    "upstream-no-weights": ("upstream", "model.safetensors"),
}


@pytest.fixture(scope="session")
def saves(made):
    return made("bagel_resume.py", 2)


@pytest.fixture(scope="session")
def broken(saves, tmp_path_factory):
    """Copies with something taken away: by name."""
    folder = tmp_path_factory.mktemp("broken")
    for name, (kind, gone) in BROKEN.items():
        shutil.copytree(saves / kind, folder / name)
        for path in list((folder / name / STEP).glob(gone)):
            path.unlink()
    return folder


@pytest.fixture(scope="session")
def resumed(saves, broken, tmp_path_factory, torchrun):
    """What a fresh process a rank made of each."""
    out = tmp_path_factory.mktemp("resumed")
    jobs = [{"name": kind, "kind": kind, "folder": str(saves / kind / STEP)} for kind in KINDS]
    jobs += [{"name": name, "kind": kind, "folder": str(broken / name / STEP)} for name, (kind, _) in BROKEN.items()]
    (out / "jobs.json").write_text(json.dumps(jobs))
    torchrun("bagel_resume.py", 2, out, out / "jobs.json")
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
    code = main(["verify", str(folder), "--format", "bagel", "--for", profile, "-q"])
    capsys.readouterr()
    return code


@pytest.mark.parametrize("kind", KINDS)
def test_what_bagel_saves_is_complete(saves, capsys, kind):
    for profile in ("inference", "resume"):
        assert assessed(saves / kind / STEP, profile)[0] == "COMPLETE"
        assert exit_code(capsys, saves / kind / STEP, profile) == 0


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_from_what_is_complete_a_run_goes_on_bit_for_bit(resumed, whole, kind):
    assert resumed[kind] == {"digests": whole[kind], "step": 4, "position": 4}


@pytest.mark.parametrize("kind", KINDS)
def test_an_exact_resume_lacks_the_random_states_that_bagel_does_not_keep(saves, kind):
    report = ckpt_core.verify(str(saves / kind / STEP), profile=Profile.EXACT_RESUME).report
    assert report.assessment.summary == "PARTIAL for exact-resume: rng absent"


LOST = [
    ("dcp", "model_sharded/__0_0.distcp", {"model": "unreadable"}),
    ("dcp", "ema_sharded/.metadata", {"ema": "unreadable"}),
    ("dcp", "optimizer_rank00001.pt", {"optimizer": "unreadable"}),
    ("dcp", "scheduler.pt", {"scheduler": "absent"}),
    ("dcp", "data_status.pt", {"sampler": "absent"}),
    ("ranks", "model_rank00000.pt", {"model": "unreadable"}),
    ("ranks", "ema_rank00001.pt", {"ema": "unreadable"}),
    ("ranks", "optimizer_rank00001.pt", {"optimizer:00001": "absent"}),
    ("fsdp2", "model.safetensors", {"model": "absent"}),
    ("fsdp2", "ema.safetensors", {"ema": "absent"}),
    ("fsdp2", "optimizer_rank00000_of00002.pt", {"optimizer": "unreadable"}),
    ("upstream", "model.safetensors", {"model": "absent"}),
    ("upstream", "ema.safetensors", {"ema": "absent"}),
    ("upstream", "optimizer.00000-of-00002.pt", {"optimizer:00000-of-00002": "unreadable"}),
    ("upstream", "scheduler.pt", {"scheduler": "absent"}),
    ("upstream", "data_status.pt", {"sampler": "absent"}),
]


@pytest.mark.parametrize(("kind", "name", "lines"), LOST)
def test_a_lost_file_flips_its_own_line(saves, copy_of, capsys, kind, name, lines):
    folder = copy_of(saves / kind) / STEP
    before = assessed(folder, "exact-resume")[1]
    (folder / name).unlink()
    verdict, after = assessed(folder, "exact-resume")
    assert flipped(before, after) == lines
    assert verdict in ("PARTIAL", "CORRUPT")
    least = "exact-resume" if "sampler" in lines else "resume"
    assert assessed(folder, least)[0] != "COMPLETE"
    assert exit_code(capsys, folder, least) == 4


@pytest.mark.parametrize(
    ("kind", "name", "line"),
    [
        ("ranks", "model_rank00001.pt", "model"),
        ("ranks", "optimizer_rank00001.pt", "optimizer:00001"),
        ("fsdp2", "ema.safetensors", "ema"),
        ("fsdp2", "optimizer_rank00001_of00002.pt", "optimizer"),
        ("upstream", "optimizer.00001-of-00002.pt", "optimizer:00001-of-00002"),
        ("upstream", "scheduler.pt", "scheduler"),
        ("upstream", "data_status.pt", "sampler"),
    ],
)
def test_a_cut_file_is_unreadable_and_not_absent(saves, copy_of, capsys, kind, name, line):
    folder = copy_of(saves / kind) / STEP
    before = assessed(folder, "resume")[1]
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    verdict, after = assessed(folder, "resume")
    assert (verdict, flipped(before, after)) == ("CORRUPT", {line: "unreadable"})
    assert exit_code(capsys, folder, "resume") == 4


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "ranks"),
    [
        ("dcp-no-metadata-of-shards", {0, 1}),
        ("dcp-no-shard", {0, 1}),
        ("upstream-no-optimizer", {1}),
        ("upstream-no-schedule", {0, 1}),
        ("upstream-no-weights", {0, 1}),
    ],
)
def test_a_run_stops_at_what_is_not_complete(broken, resumed, name, ranks):
    """At the file that is gone, and on the ranks that read it."""
    assert assessed(broken / name / STEP, "resume")[0] != "COMPLETE"
    lost = f"{name}/{STEP}/{BROKEN[name][1]}"
    assert {rank for rank, error in enumerate(resumed[name]["errors"]) if lost in (error or "")} == ranks


@pytest.mark.long
@pytest.mark.parametrize(("name", "line"), [("dcp-no-optimizer", "optimizer"), ("upstream-no-average", "ema")])
def test_what_a_run_would_make_up_in_silence_is_not_complete(broken, resumed, whole, name, line):
    """The fork begins the optimizer anew, BAGEL takes the model for its average: neither says so."""
    verdict, lines = assessed(broken / name / STEP, "resume")
    assert (verdict != "COMPLETE", lines[line]) == (True, "absent")
    assert resumed[name]["digests"] != whole[name.partition("-")[0]]


@pytest.mark.long
def test_without_a_position_a_run_begins_its_data_again_in_silence(broken, resumed, whole):
    folder = broken / "upstream-no-position" / STEP
    assert assessed(folder, "resume")[0] == "COMPLETE"
    assert assessed(folder, "exact-resume")[1]["sampler"] == "absent"
    assert resumed["upstream-no-position"]["position"] == 2
    assert resumed["upstream-no-position"]["digests"] != whole["upstream"]


def test_the_newest_whole_step_is_found(saves, copy_of, capsys):
    run = copy_of(saves / "upstream", "run")
    shutil.copytree(run / STEP, run / "0000004")
    (run / "0000004" / "optimizer.00001-of-00002.pt").unlink()
    assert main(["locate", str(run), "--for", "resume", "-q"]) == 0
    assert capsys.readouterr().out.strip() == str(run / STEP)
