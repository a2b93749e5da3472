"""What is different on a terminal: drawn tables and a progress line, which quiet, JSON and NO_COLOR take back."""

import json
import re
import subprocess
import sys

import pytest

COLOR = re.compile(r"\x1b\[[0-9;]*3[0-7][0-9;]*m")


def test_tables_are_drawn_in_color(on_terminal, files):
    shown = on_terminal("inspect", files / "weights.pth").out
    assert "─" in shown
    assert COLOR.search(shown)


def test_no_color_is_honoured(on_terminal, files):
    shown = on_terminal("inspect", files / "weights.pth", NO_COLOR="1").out
    assert "─" in shown
    assert not COLOR.search(shown)


def test_long_work_shows_how_far_it_is(on_terminal, files):
    for args in (
        ("verify", files / "weights.pth", "--depth", "values"),
        ("diff", files / "weights.pth", files / "weights.safetensors"),
        ("inspect", files / "weights.pth", "--stats"),
        ("inspect", files / "weights.pth", "--fingerprint"),
    ):
        assert f"\r\x1b[K{args[0]}: 0 % of " in on_terminal(*args).out


def test_quiet_and_json_show_no_progress(on_terminal, files):
    args = ("verify", files / "weights.safetensors", "--depth", "bytes")
    assert on_terminal(*args, "-q").out == "ok\r\n"
    assert json.loads(on_terminal(*args, "--json").out)["ok"] is True


def test_short_work_shows_no_progress(on_terminal, files):
    assert "%" not in on_terminal("verify", files / "weights.pth").out


RED_ERROR = "\x1b[1;31merror\x1b[0m"


def test_the_word_error_is_in_color_on_a_terminal_alone(on_terminal, ckpt, files):
    for args in (("inspect", "./nowhere"), ("verify", files / "cut.safetensors")):
        assert RED_ERROR in on_terminal(*args).out
        assert RED_ERROR not in on_terminal(*args, NO_COLOR="1").out
        plain = ckpt(*args)
        assert "\x1b" not in plain.out + plain.err


@pytest.mark.parametrize(
    "args", [("inspect", "./a_folder_that_is_not_here/nowhere.pth"), ("verify", "weights.pth"), ("inspct",)]
)
def test_a_narrow_terminal_breaks_lines_at_words(on_terminal, files, monkeypatch, args):
    monkeypatch.chdir(files)
    wide = on_terminal(*args, NO_COLOR="1", COLUMNS="400").out
    narrow = on_terminal(*args, NO_COLOR="1", COLUMNS="50").out
    assert narrow.split() == wide.split()
    assert max(len(line) for line in narrow.splitlines()) <= 50
    assert len(narrow.splitlines()) > len(wide.splitlines())


@pytest.mark.parametrize("columns", [50, 80, 200])
def test_progress_fits_its_line_and_says_rate_and_time_left(columns, monkeypatch):
    import io

    from ckpt_core.cli.progress_bar import Bar

    monkeypatch.setenv("COLUMNS", str(columns))
    bar = Bar(io.StringIO(), "convert")
    bar.begin(4 << 30)
    bar.advance(1 << 30)
    shown = bar.line(bar._begun + 60)
    assert shown.startswith("convert: 25 % of 4.0 GiB, 17.1 MiB/s, 3:00 left")
    assert len(shown) < columns
    assert (("#" in shown) and shown.count("#") * 3 - shown.count("-") in range(-3, 4)) or columns == 50


def test_a_second_pass_begins_at_nothing():
    import io

    from ckpt_core.cli.progress_bar import Bar

    bar = Bar(io.StringIO(), "convert")
    bar.begin(100)
    bar.advance(100)
    bar.begin(50)
    assert bar.line(bar._begun).startswith("convert: 0 % of 50 B")


def test_reading_back_what_was_converted_shows_how_far_it_is(on_terminal, files, tmp_path):
    shown = on_terminal("convert", files / "weights.pth", tmp_path / "a.safetensors").out
    assert shown.count("convert: 0 % of ") == 2


_STOPPED = """
import signal, sys
import ckpt_core.verbs.{module} as module
def stop(*args, **how):
    signal.raise_signal(signal.SIGINT)
module.{verb} = stop
signal.signal(signal.SIGINT, signal.default_int_handler)
from ckpt_core.cli.main import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("convert", "a", "b", "--to", "hf"), "the same command goes on from it"),
        (("diff", "a", "b"), "nothing was written; the same command begins anew"),
        (("inspect", "a"), "nothing was written; the same command begins anew"),
        (("seal", "a"), "no file of the checkpoint was touched"),
        (("repair", "a"), "as --undo does"),
    ],
)
def test_an_interrupt_says_what_is_kept_and_how_to_go_on(args, said):
    code = _STOPPED.format(module=args[0], verb=args[0])
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True)
    assert done.returncode == 130
    error, hint = done.stderr.splitlines()
    assert error == "ckpt: error: interrupted"
    assert said in hint
