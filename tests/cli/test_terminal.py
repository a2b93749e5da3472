"""What is different on a terminal: drawn tables and a progress line, which quiet, JSON and NO_COLOR take back."""

import json
import re

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
