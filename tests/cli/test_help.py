"""What `-h` says: short, with examples that parse, options as they are typed; and what a mistyped word is answered."""

import shlex

import pytest

from ckpt_core.cli.app import COMMANDS, group
from ckpt_core.cli.main import main


def _help(capsys, *args):
    assert main([*args, "-h"]) == 0
    return capsys.readouterr().out


def _examples(text):
    lines = text.partition("\nExamples:\n")[2].splitlines()
    return [line.strip() for line in lines]


@pytest.mark.parametrize("verb", ["", *COMMANDS])
def test_every_help_ends_with_examples_of_real_commands(capsys, verb):
    lines = _examples(_help(capsys, *[verb] * bool(verb)))
    assert lines
    for line in lines:
        words = shlex.split(line.partition(" >")[0].replace('eval "$(', "").replace(')"', "").partition(" |")[0])
        assert words[0] == "ckpt"
        assert not verb or words[1] == verb
        context = group.make_context("ckpt", words[1:], resilient_parsing=True)
        command = group.get_command(context, words[1])
        words = words[: words.index("--")] if "--" in words else words  # what follows is another program's
        known = {name for parameter in command.params for name in parameter.opts} | {"--hidden-size"}
        assert {word for word in words[2:] if word.startswith("-")} <= known


@pytest.mark.parametrize("verb", ["", *COMMANDS])
def test_help_on_a_narrow_terminal_wraps_at_words(capsys, monkeypatch, verb):
    wide = _help(capsys, *[verb] * bool(verb))
    monkeypatch.setenv("COLUMNS", "50")
    narrow = _help(capsys, *[verb] * bool(verb))
    assert max(map(len, narrow.splitlines())) <= 50
    assert {word for word in wide.split() if word.startswith("--")} <= {*narrow.split()}


@pytest.mark.parametrize(
    ("verb", "shown", "hidden"),
    [
        ("inspect", "--variant", "--max-shard-size"),
        ("verify", "--variant", "--weights"),
        ("diff", "--release", "--ranks"),
        ("convert", "--max-shard-size", None),
        ("seal", "--force", "--variant"),
    ],
)
def test_help_shows_only_options_of_formats_that_the_command_can_use(capsys, verb, shown, hidden):
    words = _help(capsys, verb).replace(",", "").split()
    assert shown in words
    assert hidden not in words
    assert not [word for word in words if word.startswith("--") and "_" in word]


@pytest.mark.parametrize(
    ("args", "meant"),
    [
        (["insepct", "x"], "inspect"),
        (["Verify", "x"], "verify"),
        (["compleiton"], "completion"),
        (["inspect", "x", "--tesnors"], "--tensors"),
        (["convert", "a", "b", "--max_memroy", "1GB"], "--max-memory"),
        (["inspect", "x", "--varaint", "fp16"], "--variant"),
        (["locate", "full_sft", "--hiden-size", "512"], "--hidden-size"),
        (["seal", "x", "--sha265"], "--sha256"),
        (["verify", "x", "--formta", "hf"], "--format"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_nearest(capsys, args, meant):
    assert main(args) == 2
    shown = capsys.readouterr().err
    assert "did you mean" in shown.lower()
    assert meant in shown


def test_a_path_in_place_of_a_command_is_answered_with_one(capsys, files):
    assert main([str(files / "weights.pth")]) == 2
    assert f"ckpt inspect {files / 'weights.pth'}" in capsys.readouterr().err


def test_a_mistyped_component_is_answered_with_the_nearest(capsys, files):
    assert main(["inspect", str(files / "training.pth"), "--component", "optimzer"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "ckpt: hint: did you mean optimizer?"


@pytest.mark.parametrize(
    "args",
    [
        ["verify", "{}", "--fail_on", "warning"],
        ["verify", "{}", "--depth", "bytes", "--time_budget", "9s"],
        ["verify", "{}", "--depth=bytes", "--time_budget=9s"],
        ["convert", "{}", "{}.safetensors", "--max_memory", "1GB", "--dry_run"],
        ["verify", "{}", "--for", "inference"],
        ["locate", "{}", "--for", "exact_resume"],
    ],
)
def test_underscores_are_taken_for_hyphens(capsys, files, args):
    code = main([word.format(files / "weights.pth") for word in args])
    assert code in (0, 4)
    assert "No such option" not in capsys.readouterr().err
