"""The plugin that was written from the guide alone: its tests pass, and its scorecard is the one that it shows."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "ckpt_msgpack"


@pytest.fixture(scope="module")
def installed(install_example):
    return install_example("ckpt_msgpack")


def run(environment, folder, *command):
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_its_tests_pass_and_hold_it_to_the_kit(installed, tmp_path):
    pytest.importorskip("msgpack")
    shutil.copy(EXAMPLE / "test_ckpt_msgpack.py", tmp_path)
    done = run(installed, tmp_path, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"\b(\d+) passed", done.stdout)[1]) >= 40, done.stdout


def test_its_scorecard_is_the_one_that_its_readme_shows(installed, tmp_path):
    done = run(installed, tmp_path, sys.executable, "-m", "ckpt_core.testing", "msgpack")
    assert done.returncode == 0, done.stdout
    assert f"```output\n{done.stdout}```" in (EXAMPLE / "README.md").read_text(encoding="utf-8")


def test_it_imports_only_what_is_promised_to_plugins():
    source = (EXAMPLE / "ckpt_msgpack.py").read_text(encoding="utf-8")
    imported = re.findall(r"^\s*(?:from|import) (ckpt_core\S*)", source, re.MULTILINE)
    assert set(imported) == {"ckpt_core"}
