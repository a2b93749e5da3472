"""`ckpt formats`, `--format`, and the options that formats add to the command line."""

import json

import pytest


def test_each_format_is_shown_with_who_reads_it_and_its_options(ckpt, plugins):
    done = ckpt("formats", PYTHONPATH=plugins)
    rows = {line.split()[0]: line for line in done.out.splitlines()}
    assert done.code == 0
    assert rows["safetensors"].split()[:3] == ["safetensors", "core.safetensors", "read"]
    of_one = ckpt("formats", "toy", PYTHONPATH=plugins)
    assert ["--which", "TEXT", "read", "write", "which", "toy", "to", "take"] in _words(of_one)
    assert ["--top-shelf", "the", "upper", "one"] in _words(of_one)
    assert ckpt("formats", "-q", PYTHONPATH=plugins).out.split() == sorted(
        [*ckpt("formats", "-q").out.split(), "toy", "other-toy"]
    )


def _words(done):
    return [line.split() for line in done.out.splitlines()]


def test_a_format_that_is_not_there_names_the_nearest(ckpt, plugins):
    for args in (("formats", "toyy"), ("inspect", "x", "--format", "safetensor"), ("convert", "a", "b", "--to", "hff")):
        done = ckpt(*args, PYTHONPATH=plugins)
        assert done.code in (3, 6)
    assert ckpt("formats", "saftensors").err.splitlines()[-1] == "ckpt: hint: did you mean safetensors?"
    assert "did you mean" not in ckpt("formats", "nonsense").err


def test_json_has_one_entry_a_format(ckpt, plugins):
    content = json.loads(ckpt("formats", "--json", PYTHONPATH=plugins).out)
    toy = next(entry for entry in content["result"]["formats"] if entry["name"] == "toy")
    assert toy["plugin"] == "toy"
    assert toy["options"][1] == {"name": "fast", "type": "bool", "help": "take it fast"}


def _metadata(ckpt, plugins, *args):
    done = ckpt("inspect", *args, "--json", PYTHONPATH=plugins)
    assert done.code == 0, done
    return json.loads(done.out)["result"]["metadata"]


def test_an_option_of_a_format_reaches_it_however_it_is_written(ckpt, files, plugins):
    toy = files / "one.toy"
    assert _metadata(ckpt, plugins, toy) == {"format": "toy"}
    assert _metadata(ckpt, plugins, "--which", "red", toy) == {"format": "toy", "which": "red"}
    assert _metadata(ckpt, plugins, toy, "--which=red") == {"format": "toy", "which": "red"}


def test_a_switch_of_a_format_takes_no_value(ckpt, files, plugins):
    assert _metadata(ckpt, plugins, "--fast", files / "one.toy") == {"format": "toy", "fast": True}
    assert _metadata(ckpt, plugins, "--fast=no", files / "one.toy") == {"format": "toy", "fast": False}


def test_an_option_of_another_format_names_those_that_have_it(ckpt, files, plugins):
    done = ckpt("inspect", files / "weights.pth", "--which", "red", PYTHONPATH=plugins)
    assert done.code == 2
    assert "--which: format torch has no such option; formats that have it: toy" in done.err


def test_an_option_of_no_format_is_a_usage_error(ckpt, files, plugins):
    done = ckpt("inspect", files / "one.toy", "--wat", "1", PYTHONPATH=plugins)
    assert done.code == 2
    assert "No such option: --wat" in done.err
    lacking = ckpt("inspect", files / "one.toy", "--which", PYTHONPATH=plugins)
    assert lacking.code == 2
    assert "'--which' requires an argument" in lacking.err


def test_after_two_dashes_nothing_is_an_option(ckpt, tmp_path, files):
    (tmp_path / "--which").write_bytes((files / "weights.pth").read_bytes())
    assert ckpt("inspect", "--", "--which", cwd=tmp_path).out.startswith("--which: torch\n")


def test_help_of_a_command_lists_the_options_of_formats(ckpt, plugins):
    done = ckpt("inspect", "--help", PYTHONPATH=plugins)
    assert ["toy", "--which,", "--fast"] in _words(done)


def test_format_overrules_what_was_detected(ckpt, files, plugins):
    assert _metadata(ckpt, plugins, files / "one.toy", "--format", "toy") == {"format": "toy"}
    assert ckpt("inspect", files / "weights.pth", "--format", "safetensors").code == 4
    unknown = ckpt("verify", files / "weights.pth", "--format", "nonsense")
    assert unknown.code == 6
    assert "nonsense: no installed plugin owns this format" in unknown.err


@pytest.mark.parametrize("typed", [("--hint", "shelf={}"), ("--shelf", "{}"), ("--shelf={}",)])
def test_a_hint_that_a_format_declares_is_a_flag_of_every_command_that_searches(ckpt, files, plugins, typed):
    toy = files / "one.toy"
    words = [word.format(toy) for word in typed]
    located = ckpt("locate", *words, "-q", PYTHONPATH=plugins)
    assert (located.code, located.out) == (0, f"{toy}\n")
    assert _metadata(ckpt, plugins, *words) == {"format": "toy"}


def test_hints_are_in_the_help_and_options_of_formats_are_no_flags_of_locate(ckpt, plugins):
    shown = ckpt("locate", "--help", PYTHONPATH=plugins).out
    assert ["toy", "--shelf,", "--top-shelf"] in [line.split() for line in shown.splitlines()]
    refused = ckpt("locate", "x", "--which", "red", PYTHONPATH=plugins)
    assert refused.code == 2
    assert "No such option: --which" in refused.err
