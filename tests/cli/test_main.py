"""What holds for every command: exit codes, one JSON object, one line for an error, and streams that close early."""

import json
import os
import subprocess
import sys

import pytest

from ckpt_core.cli.main import main

VERBS = ("locate", "inspect", "verify", "diff", "convert", "seal", "repair", "plugins", "formats", "completion")
VERBS += ("version",)
BUG = "import sys, ckpt_core.verbs.locate as l; l.locate = lambda *a, **k: 1 / 0; from ckpt_core.cli.main import main; "
# A shell starts background jobs with the signal ignored; a person at a terminal does not.
_SIGNAL = "(signal.signal(signal.SIGINT, signal.default_int_handler), signal.raise_signal(signal.SIGINT))"
INTERRUPT = BUG.replace("1 / 0", _SIGNAL).replace("sys,", "sys, signal,", 1)


def _python(code, *args, **options):
    code += "sys.exit(main())"
    return subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=60, **options)


def test_help_names_every_command(ckpt):
    done = ckpt("--help")
    assert done.code == 0
    assert {verb for verb in VERBS if f"\n  {verb} " in done.out} == set(VERBS)


def test_no_command_shows_the_help(ckpt):
    assert ckpt() == ckpt("--help")


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_has_help_and_the_common_options(capsys, verb):
    assert main([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    for option in ("--json", "-q, --quiet", "-v, --verbose", "--debug"):
        assert option in shown


def test_version(ckpt):
    import ckpt_core

    assert ckpt("--version").out == f"ckpt {ckpt_core.__version__}\n"
    assert ckpt("--version", "-q").out == f"{ckpt_core.__version__}\n"
    assert ckpt("version") == ckpt("--version")
    assert ckpt("version", "--json") == ckpt("--version", "--json")
    assert json.loads(ckpt("--version", "--json").out)["result"] == {"version": ckpt_core.__version__}


@pytest.mark.parametrize("args", [("bogus",), ("--bogus",), ("verify", "--depth", "x", "y"), ("diff", "a")])
def test_a_usage_error_is_2_and_one_line_and_a_hint(capsys, args):
    assert main(args) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    error, hint = shown.err.splitlines()
    assert error.startswith("ckpt: error: ")
    assert hint.startswith("ckpt: hint: run ckpt ")


@pytest.mark.parametrize("args", [(), ("bogus",), ("verify", "--depth", "x", "y"), ("inspect", "./nowhere")])
def test_json_is_one_object_on_failure_too(capsys, args):
    code = main([*args, "--json"])
    shown = capsys.readouterr()
    content = json.loads(shown.out)
    assert shown.out.count("\n") == 1
    assert shown.out.isascii()
    assert shown.err == ""
    assert (content["ok"], content["exit"], content["findings"]) == (False, code, [])
    assert set(content["error"]) == {"type", "message", "hint"}
    assert content["schema"] == f"ckpt/{args[0] if args and args[0] in VERBS else 'error'}@1"


def test_an_error_shows_its_traceback_with_debug_only(ckpt):
    plain, debug = ckpt("inspect", "./nowhere"), ckpt("inspect", "./nowhere", "--debug")
    assert (plain.code, debug.code) == (3, 3)
    assert "Traceback" not in plain.err
    assert "Traceback" in debug.err
    assert "CheckpointNotFoundError" in debug.err
    assert "Traceback" in ckpt("--debug", "bogus").err


def test_verbose_logs_the_steps_to_stderr(ckpt, files):
    quiet, verbose = ckpt("inspect", files / "weights.pth"), ckpt("inspect", files / "weights.pth", "-v")
    assert quiet.err == ""
    assert "opened as torch" in verbose.err
    assert verbose.out == quiet.out
    assert "located" in ckpt("--verbose", "locate", files / "weights.pth").err


def test_an_internal_error_is_70_and_says_that_it_is_a_bug():
    done = _python(BUG, "locate", "x")
    assert done.returncode == 70
    error, hint = done.stderr.splitlines()
    assert error == "ckpt: error: this is a bug in ckpt: ZeroDivisionError: division by zero"
    assert "--debug" in hint
    assert "Traceback" in _python(BUG, "locate", "x", "--debug").stderr
    content = json.loads(_python(BUG, "locate", "x", "--json").stdout)
    assert (content["exit"], content["error"]["type"]) == (70, "ZeroDivisionError")


def test_an_interrupt_is_130_and_one_line():
    done = _python(INTERRUPT, "locate", "x")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "ckpt: error: interrupted\n")
    assert json.loads(_python(INTERRUPT, "locate", "x", "--json").stdout)["exit"] == 130


def test_a_plugin_that_fails_to_load_is_10(ckpt, files, plugins):
    done = ckpt("inspect", files / "one.toy", "--which", "none", PYTHONPATH=plugins)
    assert done.code == 10
    assert "plugin toy: load failed" in done.err
    assert "Traceback" not in done.err


def _reader_leaves(*args):
    read_end, write_end = os.pipe()
    os.close(read_end)
    code = "import sys; from ckpt_core.cli.main import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, *map(str, args)], stdout=write_end, stderr=subprocess.PIPE)
    os.close(write_end)
    return done.returncode, done.stderr


def test_a_reader_that_leaves_changes_no_verdict_and_is_no_error(files):
    assert _reader_leaves("inspect", files / "weights.pth") == (0, b"")
    assert _reader_leaves("verify", files / "cut.safetensors") == (4, b"")
    assert _reader_leaves("--help") == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_an_answer_that_cannot_be_written_is_8(files):
    code = "import sys; from ckpt_core.cli.main import main; sys.exit(main())"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code, "inspect", files / "weights.pth"], stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 8
    assert done.stderr == b"ckpt: error: the output could not be written (no space left on device)\n"


def test_names_that_the_terminal_cannot_show_are_escaped(ckpt, files, tmp_path):
    target = tmp_path / "weights-é.pth"
    target.write_bytes((files / "weights.pth").read_bytes())
    assert ckpt("locate", "-q", target, PYTHONIOENCODING="ascii").out == f"{tmp_path}/weights-\\xe9.pth\n"
