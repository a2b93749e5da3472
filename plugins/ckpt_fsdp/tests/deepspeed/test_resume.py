"""What is called complete DeepSpeed resumes from, bit for bit; what is not, it refuses, or goes on from in silence.

DeepSpeed runs in a process of its own on three ranks, and trains the step that the first run trained after its save.
"""

import json
import shutil

import pytest
import torch

import ckpt_core
from ckpt_core import Profile
from ckpt_core.cli.main import main

ON_THREE = ("deepspeed_save.py", 3)
NATIVE = ["stage0-fp32", "stage0-bf16", "stage1-fp32", "stage1-bf16", "stage2-bf16", "stage3-fp32", "stage3-bf16"]
UNIVERSAL = ["stage2-bf16", "stage3-bf16"]
TAG, MODEL = "global_step2", "mp_rank_00_model_states.pt"
WHOLE = "global_step2_universal"


def optim(rank):
    return f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"


def gone(*names):
    def change(root):
        for name in names:
            (found,) = root.glob(name)
            found.unlink()

    return change


def pointing(name):
    return lambda root: (root / "latest").write_text(name)


BROKEN = {
    "no-model": ("stage2-bf16", "ds", gone(f"{TAG}/{MODEL}")),
    "no-pointer": ("stage2-bf16", "ds", gone("latest")),
    "pointer-astray": ("stage2-bf16", "ds", pointing("global_step9")),
    "no-groups": ("stage2-bf16", "universal", gone(f"{WHOLE}/zero/optimizer_state.pt")),
    "no-universal-model": ("stage3-bf16", "universal", gone(f"{WHOLE}/zero_pp_rank_0_mp_rank_00_model_states.pt")),
    "no-rank-1": ("stage2-bf16", "ds", gone(f"{TAG}/{optim(1)}")),  # ends the processes, so it is the last
}


@pytest.fixture(scope="session")
def saves(made):
    return made(*ON_THREE)


@pytest.fixture(scope="session")
def broken(saves, tmp_path_factory):
    """Copies of what DeepSpeed saved, each with something taken away: by name."""
    folder = tmp_path_factory.mktemp("broken")
    for name, (case, kind, change) in BROKEN.items():
        change(shutil.copytree(saves / case / kind, folder / name))
    return folder


@pytest.fixture(scope="session")
def resumed(saves, broken, tmp_path_factory, torchrun):
    """What DeepSpeed made of each checkpoint, in one process a rank for all of them."""
    out = tmp_path_factory.mktemp("resumed")
    jobs = [job(f"{case}-ds", case, saves / case / "ds") for case in NATIVE]
    # DeepSpeed takes neither frozen weights nor buffers from a universal checkpoint: the program must have them.
    jobs += [job(f"{case}-universal", case, saves / case / "universal", seed=0) for case in UNIVERSAL]
    jobs += [job(name, case, broken / name, one_rank=name == "no-rank-1") for name, (case, *_) in BROKEN.items()]
    (out / "jobs.json").write_text(json.dumps(jobs))
    torchrun("deepspeed_resume.py", 3, out / "jobs.json", out / "done")
    return out / "done"


def job(name, case, root, seed=99, one_rank=False):
    return {"name": name, "case": case, "root": str(root), "tag": None, "seed": seed, "one_rank": one_rank}


def said(resumed, name):
    """What the ranks said, where they agreed."""
    every = json.loads((resumed / f"{name}.json").read_text())
    assert all(one == every[0] for one in every) or all("error" in one for one in every)
    return every[0]


def differing(expected, found, path=""):
    """Where two states are not equal, to the last bit."""
    if isinstance(expected, dict):
        assert expected.keys() == found.keys(), path
        return [place for key in expected for place in differing(expected[key], found[key], f"{path}/{key}")]
    if isinstance(expected, list | tuple):
        assert len(expected) == len(found), path
        return [
            place
            for i, pair in enumerate(zip(expected, found, strict=True))
            for place in differing(*pair, f"{path}/{i}")
        ]
    same = torch.equal(expected, found) if isinstance(expected, torch.Tensor) else expected == found
    return [] if same else [path]


def assessed(folder, profile):
    """The verdict, and what became of each component."""
    found = ckpt_core.verify(str(folder), profile=Profile(profile)).report.assessment
    return found.verdict.value, {line.role.label: line.role.presence.value for line in found.lines}


def lacking(folder, profile):
    report = ckpt_core.verify(str(folder), profile=Profile(profile)).report
    return [line.role.label for line in report.assessment.lacking]


def flipped(before, after):
    """What became of the components whose lines are not the same."""
    return {label: after.get(label, "gone") for label in {*before, *after} if before.get(label) != after.get(label)}


def exit_code(capsys, *arguments):
    code = main([*map(str, arguments), "-q"])
    capsys.readouterr()
    return code


@pytest.mark.parametrize("case", NATIVE)
def test_what_deepspeed_saved_is_complete_and_deepspeed_goes_on_from_it_bit_for_bit(saves, resumed, case):
    for profile in ("inference", "resume"):
        assert assessed(saves / case / "ds" / TAG, profile)[0] == "COMPLETE"
    assert said(resumed, f"{case}-ds") == {"loaded": True, "step": 2, "epoch": 3}
    after = torch.load(saves / case / "after.pt", weights_only=False)
    assert differing(after, torch.load(resumed / f"{case}-ds.pt", weights_only=False)) == []


# At stage 3 DeepSpeed gives every group the options of the first, whatever was saved of the others (`stage3.py`,
# load_hp_checkpoint_state_from_checkpoint_dir_stage3): here the second group's weights go on otherwise.
SECOND_GROUP = [f"/moments/{name}/fp32" for name in ("conv.bias", "mix.bias", "norm.bias", "norm.weight")]


@pytest.mark.parametrize(("case", "others"), [("stage2-bf16", []), ("stage3-bf16", SECOND_GROUP)])
def test_a_universal_checkpoint_is_complete_and_deepspeed_goes_on_from_it(saves, resumed, case, others):
    assert assessed(saves / case / "universal", "resume")[0] == "COMPLETE"
    assert said(resumed, f"{case}-universal") == {"loaded": True, "step": 2, "epoch": 3}
    after = torch.load(saves / case / "after.pt", weights_only=False)
    assert sorted(differing(after, torch.load(resumed / f"{case}-universal.pt", weights_only=False))) == others


@pytest.mark.parametrize(("case", "lost"), [("stage2-bf16", ["rng:others", "sampler"]), ("stage3-bf16", ["sampler"])])
def test_an_exact_resume_is_not_promised_for_deepspeed_keeps_no_position_in_the_data(saves, case, lost):
    folder = saves / case / "ds" / TAG
    assert assessed(folder, "exact-resume")[0] == "PARTIAL"
    assert lacking(folder, "exact-resume") == lost


@pytest.mark.parametrize(
    ("case", "name", "lines"),
    [
        ("stage1-bf16", optim(2), {"model", "optimizer"}),
        ("stage2-bf16", optim(0), {"model", "optimizer"}),
        ("stage3-bf16", optim(1), {"model", "optimizer"}),
        ("stage3-bf16", "zero_pp_rank_1_mp_rank_00_model_states.pt", {"model"}),
    ],
)
@pytest.mark.parametrize("cut", [False, True])
def test_a_lost_or_cut_file_of_a_rank_flips_the_lines_that_it_has_a_part_of(
    saves, copy_of, capsys, case, name, lines, cut
):
    folder = copy_of(saves / case / "ds" / TAG, TAG)
    before = assessed(folder, "resume")[1]
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2]) if cut else (folder / name).unlink()
    verdict, after = assessed(folder, "resume")
    assert (verdict, flipped(before, after)) == ("CORRUPT", dict.fromkeys(lines, "unreadable"))
    assert exit_code(capsys, "verify", folder, "--for", "resume", "--format", "deepspeed") == 4


@pytest.mark.parametrize(
    ("key", "label", "profile"),
    [
        ("lr_scheduler", "scheduler", "resume"),
        ("optimizer", "optimizer", "resume"),
        ("rng_state", "rng", "exact-resume"),
    ],
)
def test_a_part_that_is_gone_from_the_file_of_all_ranks_flips_its_own_line(saves, copy_of, capsys, key, label, profile):
    folder = copy_of(saves / "stage0-fp32" / "ds" / TAG, TAG)
    before = assessed(folder, profile)[1]
    state = torch.load(folder / MODEL, weights_only=False)
    del state[key]
    torch.save(state, folder / MODEL)
    verdict, after = assessed(folder, profile)
    assert (verdict, flipped(before, after) | {"rng:others": "-"}) == ("PARTIAL", {label: "absent", "rng:others": "-"})
    assert exit_code(capsys, "verify", folder, "--for", profile, "--format", "deepspeed") == 4
    assert assessed(folder, "inference")[0] == "COMPLETE"


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("zero/mix.weight/fp32.pt", {"model": "unreadable"}),
        ("zero/mix.weight/exp_avg.pt", {"optimizer": "unreadable"}),
        ("zero/norm.bias/step.pt", {"optimizer": "unreadable"}),
        ("zero/optimizer_state.pt", {"optimizer": "unreadable", "scaler": "gone"}),
    ],
)
def test_a_lost_file_of_a_universal_checkpoint_flips_its_own_line(saves, copy_of, capsys, name, lines):
    root = copy_of(saves / "stage2-bf16" / "universal")
    before = assessed(root, "resume")[1]
    (root / WHOLE / name).unlink()
    verdict, after = assessed(root, "resume")
    assert (verdict, flipped(before, after)) == ("CORRUPT", lines)
    assert exit_code(capsys, "verify", root, "--for", "resume") == 4


def test_without_what_names_the_parameters_nothing_can_be_read_and_nothing_is_called_absent(broken, capsys):
    folder = broken / "no-model" / TAG
    verdict, lines = assessed(folder, "resume")
    assert (verdict, set(lines.values())) == ("CORRUPT", {"unreadable"})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no-model", "AssertionError"),  # without words
        ("pointer-astray", "AssertionError"),
        ("no-groups", "optimizer_state.pt containing optimizer global state is missing"),
        ("no-universal-model", "AssertionError"),
    ],
)
def test_deepspeed_refuses_what_is_not_complete(resumed, name, reason):
    assert reason in said(resumed, name)["error"]


def test_deepspeed_refuses_where_the_file_of_a_rank_is_lost(broken, resumed):
    assert assessed(broken / "no-rank-1" / TAG, "resume")[0] == "CORRUPT"
    assert optim(1) in json.loads((resumed / "no-rank-1-1.json").read_text())["error"]


def test_without_a_pointer_deepspeed_loads_nothing_in_silence_and_that_is_said(broken, resumed, copy_of):
    assert said(resumed, "no-pointer") == {"loaded": False, "step": 0, "epoch": None}
    root = copy_of(broken / "no-pointer")
    shutil.rmtree(root / "global_step1")
    (finding,) = ckpt_core.verify(str(root)).report.findings
    assert (finding.code, finding.severity) == ("ZE001", ckpt_core.Severity.WARNING)
    assert assessed(root, "resume")[0] == "PARTIAL"
    assert lacking(root, "resume") == ["progress:latest"]


def test_the_newest_whole_tag_is_found_whatever_the_pointer_says(saves, copy_of, capsys):
    root = copy_of(saves / "stage2-bf16" / "ds")
    (root / TAG / optim(2)).unlink()
    assert main(["locate", str(root), "--for", "resume"]) == 0
    done = capsys.readouterr()
    assert done.out.split()[0] == str(root / "global_step1")
    assert "latest names global_step2" in done.err
    assert "optimizer unreadable" in done.err
    shutil.rmtree(root / "global_step1")
    assert exit_code(capsys, "locate", root, "--for", "resume") == 4
