"""What the tests of documents share: an example installed as pip does it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def install_example(tmp_path_factory):
    """`install_example(name)`: the environment of a process in which that example is installed."""

    def installed(name):
        pytest.importorskip("hatchling")
        pytest.importorskip("pip")
        target, copy = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("copy") / name
        shutil.copytree(EXAMPLES / name, copy)
        options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
        subprocess.run([sys.executable, "-m", "pip", "install", *options, "--target", target, copy], check=True)
        return {**os.environ, "PYTHONPATH": str(target)}

    return installed
