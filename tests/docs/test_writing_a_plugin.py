import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ckpt_core
from ckpt_core import hookspecs

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "npy_plugin"
DOC = (ROOT / "docs" / "writing-a-plugin.md").read_text(encoding="utf-8")


def signatures():
    """The signature of each hook as an author writes it: without `self`, types without quotes."""
    tree = ast.parse(Path(hookspecs.__file__).read_text(encoding="utf-8"))
    specs = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Specs")
    for node in specs.body:
        if isinstance(node, ast.FunctionDef):
            taken = [f"{arg.arg}: {ast.literal_eval(arg.annotation)}" for arg in node.args.args[1:]]
            yield f"def {node.name}({', '.join(taken)}) -> {ast.literal_eval(node.returns)}"


@pytest.mark.parametrize("signature", list(signatures()), ids=lambda text: text[4:].partition("(")[0])
def test_the_guide_shows_the_signature_of_each_hook(signature):
    assert f"```python\n{signature}\n```" in DOC


def test_the_guide_shows_all_hooks_and_no_other():
    assert len(list(signatures())) == 7
    assert re.findall(r"^def .* -> .*[^:]$", DOC, re.MULTILINE) == list(signatures())


@pytest.mark.parametrize("name", ["pyproject.toml", "ckpt_npy.py", "test_ckpt_npy.py"])
def test_the_guide_shows_the_example_as_it_is(name):
    kind = "toml" if name.endswith(".toml") else "python"
    assert f"`{name}`:\n\n```{kind}\n{(EXAMPLE / name).read_text(encoding='utf-8')}```" in DOC


def test_every_public_name_in_the_guide_exists():
    for name in re.findall(r"`ckpt_core\.([a-z_]+)`", DOC):
        assert name in ckpt_core.__all__ or (ROOT / "ckpt_core" / name).is_dir() or name == "__all__", name


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The environment of a process in which the example is installed."""
    pytest.importorskip("hatchling")
    pytest.importorskip("pip")
    target, copy = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("copy") / "npy_plugin"
    shutil.copytree(EXAMPLE, copy)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, "--target", target, copy], check=True)
    return {**os.environ, "PYTHONPATH": str(target)}


def run(environment, folder, *command):
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_the_example_is_found_and_used_by_the_command_line(installed, tmp_path):
    import numpy as np

    np.save(tmp_path / "x.npy", np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3)))
    done = run(installed, tmp_path, sys.executable, "-m", "ckpt_core.cli.main", "inspect", "x.npy", "--stats")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "x.npy: npy"
    assert re.search(r"^x +F32 +2x3 +24 B +0 +5 +2.5 ", done.stdout, re.MULTILINE)


def test_the_example_passes_the_conformance_kit(installed, tmp_path):
    shutil.copy(EXAMPLE / "test_ckpt_npy.py", tmp_path)
    done = run(installed, tmp_path, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_ckpt_npy.py")
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"\b(\d+) passed", done.stdout)[1]) >= 10, done.stdout
