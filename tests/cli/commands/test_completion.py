"""`ckpt completion`: scripts for three shells, and what they get when they ask."""

import json
from os import environ
from subprocess import run

import pytest


@pytest.mark.parametrize(("shell", "sign"), [("bash", "complete -o"), ("zsh", "#compdef ckpt"), ("fish", "complete ")])
def test_a_script_for_each_shell(ckpt, shell, sign):
    done = ckpt("completion", shell)
    assert done.code == 0
    assert sign in done.out
    assert "_CKPT_COMPLETE" in done.out


def test_without_one_named_it_is_the_users_shell(ckpt):
    assert ckpt("completion", SHELL="/usr/bin/fish").out == ckpt("completion", "fish").out
    unknown = ckpt("completion", SHELL="/bin/tcsh")
    assert unknown.code == 2
    assert "bash, zsh, fish" in unknown.err


def test_json_holds_the_script(ckpt):
    content = json.loads(ckpt("completion", "bash", "--json").out)
    assert content["result"]["shell"] == "bash"
    assert content["result"]["script"] == ckpt("completion", "bash", "-q").out.removesuffix("\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [("ckpt in", "plain,inspect"), ("ckpt verify --dep", "plain,--depth"), ("ckpt verify --depth b", "plain,bytes")],
)
def test_commands_options_and_choices_are_completed(ckpt, words, expected):
    done = ckpt(COMP_WORDS=words, COMP_CWORD=str(len(words.split()) - 1), _CKPT_COMPLETE="bash_complete")
    assert expected in done.out.splitlines()


def test_bash_accepts_the_script(ckpt):
    script = ckpt("completion", "bash").out
    assert run(["bash", "-n"], input=script, text=True, env=dict(environ)).returncode == 0


def _completed(ckpt, words, shell="bash", **how):
    """What a shell is told; `words` ends with the word that the cursor is in."""
    place = words.split(" ")
    where = place[-1] if shell == "fish" else str(len(place) - 1)
    return ckpt(COMP_WORDS=words, COMP_CWORD=where, _CKPT_COMPLETE=f"{shell}_complete", **how).out.splitlines()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("ckpt inspect ./we", "file,./we"),
        ("ckpt verify a.pth we", "file,we"),
        ("ckpt convert we", "file,we"),
        ("ckpt convert a --base we", "file,we"),
        ("ckpt repair a --output o", "dir,o"),
        ("ckpt inspect full", "plain,full_sft"),
        ("ckpt convert a b --to saf", "plain,safetensors"),
        ("ckpt verify a --format hf-", "plain,hf-trainer"),
        ("ckpt formats dc", "plain,dcp"),
        ("ckpt convert a b --dtype bf", "plain,bf16"),
        ("ckpt convert a b --dtype norm*=f3", "plain,norm*=f32"),
        ("ckpt verify a --report ju", "plain,junit"),
        ("ckpt locate x --hidden", "plain,--hidden-size"),
        ("ckpt convert a b --max-sh", "plain,--max-shard-size"),
        ("ckpt inspect nothing.pth --component opt", "plain,optimizer"),
    ],
)
def test_refs_and_values_are_completed(ckpt, words, expected):
    assert expected in _completed(ckpt, words)


def test_a_format_that_cannot_be_written_is_no_value_of_to(ckpt):
    assert _completed(ckpt, "ckpt convert a b --to hf") == ["plain,hf"]


def test_components_are_those_of_the_checkpoint_on_the_line(ckpt, files):
    assert _completed(ckpt, "ckpt inspect training.pth --component ", cwd=files) == ["plain,model", "plain,optimizer"]
    assert _completed(ckpt, "ckpt diff cut.safetensors training.pth --component o", cwd=files) == ["plain,optimizer"]


def test_stages_and_what_lies_here_are_offered_together(ckpt, tmp_path):
    (tmp_path / "full_run").mkdir()
    (tmp_path / "full.pth").write_bytes(b"")
    found = _completed(ckpt, "ckpt inspect full", cwd=tmp_path)
    assert found == ["plain,full_sft", "plain,full_dist", "plain,full.pth", "plain,full_run/"]


@pytest.mark.parametrize(("shell", "expected"), [("zsh", ["plain", "junit", "_"]), ("fish", ["plain,junit"])])
def test_other_shells_are_told_the_same(ckpt, shell, expected):
    assert _completed(ckpt, "ckpt verify a --report ju", shell) == expected
    assert "file" in _completed(ckpt, "ckpt verify ./a", shell)[0]
