"""The recorded terminal sessions show what the commands show today."""

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
SAMPLE = ("Several at once", "A narrow terminal")


def _recorder():
    spec = importlib.util.spec_from_file_location("record_terminal", DOCS / "record_terminal.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RECORDER = _recorder()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("terminal")
    RECORDER.lay_out(made)
    return str(made)


@pytest.mark.parametrize(
    "scene",
    [
        pytest.param(scene, id=scene.title, marks=() if scene.title in SAMPLE else pytest.mark.long)
        for scene in RECORDER.SCENES
    ],
)
def test_a_scene_of_the_page_is_what_a_terminal_shows(scene, folder):
    page = (DOCS / "terminal.md").read_text(encoding="utf-8")
    shown = RECORDER.recorded(scene, folder)
    assert RECORDER.steady(shown) in RECORDER.steady(page), "run: python -m docs.record_terminal"


def test_the_page_has_each_scene_and_no_other():
    titles = [line[3:] for line in (DOCS / "terminal.md").read_text(encoding="utf-8").splitlines() if line[:3] == "## "]
    assert titles == [scene.title for scene in RECORDER.SCENES]
