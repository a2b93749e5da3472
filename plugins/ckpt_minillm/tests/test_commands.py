"""What a person sees: the commands and the example, as subprocesses."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ckpt_core

CKPT = Path(sys.executable).with_name("ckpt")
EXAMPLE = Path(__file__).parents[3] / "examples" / "locate_in_a_trainer.py"
HERE = ("--hint", "hidden_size=16", "--hint", "remote_dir=remote")


def ckpt(*arguments, **env):
    return subprocess.run([CKPT, *arguments], capture_output=True, text=True, env={**os.environ, **env}, timeout=120)


def squeezed(text):
    return [re.sub(" +", " ", line).strip() for line in text.splitlines()]


@pytest.fixture
def two_places(minimind):
    """The same stage in the remote and in the local folder."""
    minimind.save("remote/full_sft_16.pth")
    minimind.save("out/full_sft_16.pth")


def test_explain_shows_the_order_and_the_reasons(two_places):
    Path("remote/full_sft_16.pth").unlink()
    run = ckpt("locate", "sft", *HERE, "--explain")
    assert run.returncode == 0, run.stderr
    assert squeezed(run.stdout)[:3] == [
        "explicit missing sft [a file or directory of that name here]",
        "remote missing remote/full_sft_16.pth [remote folder, hint remote_dir]",
        "-> local found out/full_sft_16.pth [local folder, the default]",
    ]


def test_the_remote_folder_wins_until_local_is_preferred(two_places):
    assert ckpt("locate", "sft", *HERE, "-q").stdout.split()[0] == "remote/full_sft_16.pth"
    assert ckpt("locate", "sft", *HERE, "--hint", "prefer=local", "-q").stdout.split()[0] == "out/full_sft_16.pth"


def test_a_variable_set_and_missing_exits_3_and_names_it(two_places):
    run = ckpt("locate", "sft", *HERE, MINILLM_PRETRAINED_PATH="/nope/full_sft_16.pth")
    assert run.returncode == 3
    assert "/nope/full_sft_16.pth" in run.stderr
    assert "MINILLM_PRETRAINED_PATH" in run.stderr
    assert "Traceback" not in run.stderr


def test_another_stage_in_the_variable_is_said(two_places):
    run = ckpt("locate", "rlhf", *HERE, "--explain", MINILLM_PRETRAINED_PATH="out/full_sft_16.pth")
    assert run.returncode == 0, run.stderr
    assert "is a full_sft file, asked was rlhf" in run.stdout


def test_nothing_found_exits_3_and_names_what_was_tried(two_places):
    run = ckpt("locate", "rlhf", *HERE)
    assert run.returncode == 3
    assert "remote/rlhf_16.pth" in run.stderr
    assert "out/rlhf_16.pth" in run.stderr


@pytest.mark.parametrize("hint", ["hidden_size=-4", "use_moe=perhaps", "prefer=oldest"])
def test_a_wrong_hint_exits_2_and_is_named(hint):
    run = ckpt("locate", "sft", "--hint", hint)
    assert run.returncode == 2
    assert hint in run.stderr


def test_experts_are_asked_for_by_hint_or_variable(minimind):
    minimind.save("out/grpo_16_moe.pth", minimind.tensors(moe=True))
    assert ckpt("locate", "grpo", *HERE).returncode == 3
    assert ckpt("locate", "grpo", *HERE, "--hint", "use_moe=yes").returncode == 0
    assert ckpt("locate", "grpo", *HERE, USE_MOE="True").returncode == 0
    assert ckpt("locate", "grpo", *HERE, USE_MOE="False").returncode == 3


def test_verify_reports_a_wrong_name(minimind):
    minimind.save("out/pretrain_512.pth")
    run = ckpt("verify", "pretrain", "--hint", "remote_dir=remote", "--json")
    assert run.returncode == 4
    assert "MM001" in run.stdout
    json.loads(run.stdout)


def test_the_format_is_listed_with_its_owner():
    assert "minillm" in ckpt("formats").stdout
    assert "ckpt-minillm" in ckpt("plugins").stdout


def test_the_example_finds_loads_and_trains_on():
    run = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stderr
    lines = squeezed(run.stdout)
    assert any(
        re.fullmatch(r"-> local found out/full_sft_64\.pth \[local folder, the default\]", line) for line in lines
    )
    assert any("3 tensors matched (100.0%)" in line for line in lines)
    losses = dict(re.findall(r"(full_sft|dpo): loss ([0-9.]+) ->", run.stdout))
    assert float(losses["dpo"]) < float(losses["full_sft"]) / 2


TRACES = {
    "explicit": (
        0,
        [
            "-> explicit found given/mine.pth [hint path]",
            "explicit not probed sft [a file or directory of that name here]",
            "environment not probed env/full_sft_512.pth [MINILLM_PRETRAINED_PATH]",
            "remote not probed remote/full_sft_512.pth [remote folder, MINILLM_REMOTE_DIR]",
            "local not probed out/full_sft_512.pth [local folder, the default]",
        ],
    ),
    "env": (
        0,
        [
            "explicit missing sft [a file or directory of that name here]",
            "-> environment found env/full_sft_512.pth [MINILLM_PRETRAINED_PATH]",
            "remote not probed remote/full_sft_512.pth [remote folder, MINILLM_REMOTE_DIR]",
            "local not probed out/full_sft_512.pth [local folder, the default]",
        ],
    ),
    "remote": (
        0,
        [
            "explicit missing sft [a file or directory of that name here]",
            "-> remote found remote/full_sft_512.pth [remote folder, MINILLM_REMOTE_DIR]",
            "local not probed out/full_sft_512.pth [local folder, the default]",
        ],
    ),
    "local": (
        0,
        [
            "explicit missing sft [a file or directory of that name here]",
            "remote missing remote/full_sft_512.pth [remote folder, MINILLM_REMOTE_DIR]",
            "-> local found out/full_sft_512.pth [local folder, the default]",
        ],
    ),
    "nothing": (
        3,
        [
            "explicit missing sft [a file or directory of that name here]",
            "remote missing remote/full_sft_512.pth [remote folder, MINILLM_REMOTE_DIR]",
            "local missing out/full_sft_512.pth [local folder, the default]",
        ],
    ),
}


@pytest.mark.parametrize("case", TRACES)
def test_the_trace_of_a_search(case):
    """Of all the places only those after the one that wins are there: what comes before it is not needed to win."""
    code, expected = TRACES[case]
    order = list(TRACES)
    places = ("given/mine.pth", "env/full_sft_512.pth", "remote/full_sft_512.pth", "out/full_sft_512.pth")
    for place in places[order.index(case) :]:
        Path(place).parent.mkdir()
        Path(place).write_bytes(b"x")
    variables = {"MINILLM_REMOTE_DIR": "remote"}
    if case in ("explicit", "env"):
        variables["MINILLM_PRETRAINED_PATH"] = "env/full_sft_512.pth"
    more = ("--hint", "path=given/mine.pth") if case == "explicit" else ()
    run = ckpt("locate", "sft", "--hint", "hidden_size=512", *more, "--explain", **variables)
    assert run.returncode == code
    assert squeezed(run.stdout) == expected


def test_a_shell_takes_the_path_and_its_exit_code(minimind):
    minimind.save("out/full_sft_16.pth")
    script = f'set -e; CKPT=$({CKPT} locate sft --hint hidden_size=16 -q); test -f "$CKPT"; echo "took $CKPT"'
    found = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, "took out/full_sft_16.pth\n")
    missing = subprocess.run(["bash", "-c", script.replace("sft", "dpo")], capture_output=True, text=True)
    assert (missing.returncode, missing.stdout) == (3, "")


def test_a_contradiction_of_a_hint_and_the_tensors_is_an_error(minimind):
    minimind.save("out/full_sft_16.pth")
    minimind.save("out/full_sft_24.pth")
    flags = ("--remote-dir", "remote")
    assert ckpt("verify", "sft", *flags, "--hidden-size", "16", "--num-hidden-layers", "2").returncode == 0
    for hints, message in (
        (("--hidden-size", "16", "--num-hidden-layers", "8"), "2 layers, not 8"),
        (("--hidden-size", "24"), "hidden size 16, not 24"),
    ):
        run = ckpt("inspect", "sft", *flags, *hints)
        assert run.returncode == 2
        assert message in run.stderr
    given = ckpt("inspect", "out/full_sft_16.pth", "--use-moe", "true")
    assert given.returncode == 2
    assert "a dense model, not experts" in given.stderr


def test_the_world_size_of_a_resume_file_is_converted_on_the_way(minimind):
    minimind.save_resume("out/dpo_16_resume.pth", step=10, world_size=2)
    copy = "copy/dpo_16_resume.pth"
    run = ckpt("convert", "out/dpo_16_resume.pth", copy, "--to", "minillm-resume", "--world-size", "4")
    assert run.returncode == 0, run.stderr
    state = ckpt_core.load(copy).component("progress").state
    assert (state["step"], state["world_size"]) == (5, 4)
