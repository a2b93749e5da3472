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
