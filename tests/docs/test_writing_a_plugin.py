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
EXAMPLE = ROOT / "examples" / "npz_plugin"
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


def test_the_layout_table_of_the_guide_finds_each_save_of_a_folder_with_its_files(tmp_path):
    plugin, detection = (block(first) for first in ('"""The hooks of ckpt-myformat."""', '"""Rank files: '))
    package = tmp_path / "site" / "ckpt_myformat" / "ranks"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "detection.py").write_text(detection)
    (package.parent / "plugin.py").write_text(plugin)
    (tmp_path / "run").mkdir()
    for name in ("a_rank_0.bin", "a_rank_1.bin", "b_rank_0.bin", "notes.txt"):
        (tmp_path / "run" / name).write_bytes(b"")
    code = (
        "import sys, ckpt_core as ck; from ckpt_myformat import plugin\n"
        "print('ckpt_myformat.ranks' in sys.modules)\n"
        "for match in plugin.detect_format(ck.list_files('run')): print(match.format, match.root, match.files)"
    )
    done = run({**os.environ, "PYTHONPATH": str(tmp_path / "site")}, tmp_path, sys.executable, "-c", code)
    assert done.stdout.splitlines() == [
        "False",
        "my-ranks a_rank_0.bin ('a_rank_0.bin', 'a_rank_1.bin')",
        "my-ranks b_rank_0.bin ('b_rank_0.bin',)",
    ], done.stderr


def block(first):
    """The code block of the guide that begins so."""
    return DOC[DOC.index(f"```python\n{first}") :].removeprefix("```python\n").partition("```")[0]


@pytest.mark.parametrize("name", ["pyproject.toml", "ckpt_npz.py", "test_ckpt_npz.py"])
def test_the_guide_shows_the_example_as_it_is(name):
    kind = "toml" if name.endswith(".toml") else "python"
    said = DOC[DOC.index(f"\n`{name}` ") :].partition("\n\n")[2]
    assert said.startswith(f"```{kind}\n{(EXAMPLE / name).read_text(encoding='utf-8')}```")


def test_every_public_name_in_the_guide_exists():
    for name in re.findall(r"`ckpt_core\.([a-z_]+)`", DOC):
        assert name in ckpt_core.__all__ or (ROOT / "ckpt_core" / name).is_dir() or name == "__all__", name


@pytest.fixture(scope="module")
def installed(install_example):
    """The environment of a process in which the example is installed."""
    return install_example("npz_plugin")


def run(environment, folder, *command):
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_the_example_is_found_and_used_by_the_command_line(installed, tmp_path):
    import numpy as np

    np.savez(tmp_path / "x.npz", x=np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3)))
    done = run(installed, tmp_path, sys.executable, "-m", "ckpt_core.cli.main", "inspect", "x.npz", "--stats")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "x.npz: npz"
    assert re.search(r"^x +F32 +2x3 +24 B +0 +5 +2.5 ", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("write", "error"),
    [
        ("np.savez_compressed('x.npz', a=np.zeros(9))", "is compressed; write it with numpy.savez"),
        ("np.savez('x.npz', a=np.array([None]))", "no head of a numeric array"),
        ("np.savez('x.npz', a=np.array(['text']))", "no head of a numeric array"),
    ],
)
def test_the_example_refuses_what_it_cannot_read_in_one_line(installed, tmp_path, write, error):
    run(installed, tmp_path, sys.executable, "-c", f"import numpy as np; {write}")
    done = run(installed, tmp_path, sys.executable, "-m", "ckpt_core.cli.main", "inspect", "x.npz")
    assert done.returncode in (4, 6)
    assert error in done.stderr
    assert "Traceback" not in done.stderr


def test_the_example_has_a_scorecard_without_a_line_of_its_author(installed, tmp_path):
    done = run(installed, tmp_path, sys.executable, "-m", "ckpt_core.testing", "npz")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "  held    a flipped bit is found by verify and by read, where there are checksums" in done.stdout
    assert re.search(r"^2\d held, 0 broken, 1 not applicable$", done.stdout, re.MULTILINE)


def test_the_example_passes_the_conformance_kit(installed, tmp_path):
    shutil.copy(EXAMPLE / "test_ckpt_npz.py", tmp_path)
    done = run(installed, tmp_path, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_ckpt_npz.py")
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"\b(\d+) passed", done.stdout)[1]) >= 10, done.stdout
