"""The command line, small real checkpoints to ask it about, and a plugin of which all is known."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pytest
import torch
from safetensors.torch import save_file

from ckpt_core import get_plugin_manager
from ckpt_core.cli.main import main
from tests.servers.terminal import at_a_terminal

CODE = "import sys; from ckpt_core.cli.main import main; sys.exit(main())"

PLUGIN = """
from ckpt_core import Candidate, Confidence, Format, FormatMatch, FormatOption, Manifest, Priority
from ckpt_core import StoredCheckpoint, hookimpl

@hookimpl
def formats():
    options = (FormatOption("which", "which toy to take"), FormatOption("fast", "take it fast", bool))
    hints = (FormatOption("shelf", "where toys lie"), FormatOption("top_shelf", "the upper one", bool))
    return (Format("toy", "a toy", options=options, hints=hints), Format("other-toy", "another toy"))

@hookimpl
def locate(query):
    if "shelf" in query.hints:
        yield Candidate(str(query.hints["shelf"]), Priority.LOCAL, "the shelf that was hinted at")
    if query.ref == "crash":
        raise ZeroDivisionError("the toy broke")

@hookimpl
def detect_format(files):
    for path in files.entries:
        if path.endswith(".toy"):
            root = path if len(files.entries) > 1 else ""
            yield FormatMatch("toy", Confidence.CERTAIN, "the name ends in .toy", root)

@hookimpl
def load(files, match, request):
    if request.options.get("which") == "none":
        raise RuntimeError("there is no such toy")
    return StoredCheckpoint(files, match, Manifest((), metadata={**request.options, "format": match.format}))
"""


class Done(NamedTuple):
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


def command(*args):
    return [sys.executable, "-c", CODE, *map(str, args)]


def run_plain(*args, cwd=None, **env):
    done = subprocess.run(
        command(*args), cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=60
    )
    return Done(done.returncode, done.stdout, done.stderr)


def run_here(*args, cwd=None, **env):
    """Run it in this process, which takes a tenth of the time, unless it would leave something behind in it."""
    words = [str(arg) for arg in args]
    if OF_ITS_OWN.intersection(words) or any(name.startswith("PYTHON") for name in env):
        return run_plain(*args, cwd=cwd, **env)
    get_plugin_manager.cache_clear()
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    before = os.getcwd()
    os.chdir(cwd or before)
    try:
        with mock.patch.dict(os.environ, env), mock.patch("sys.stdout", out), mock.patch("sys.stderr", err):
            code = main(words)
    except SystemExit as done:  # of click's completion
        code = done.code
    finally:
        os.chdir(before)
    return Done(code, out.buffer.getvalue().decode(), err.buffer.getvalue().decode())


OF_ITS_OWN = {"-v", "--verbose", "--debug"}
"""What sets up logging, or shows where it was called from."""


def run_on_terminal(*args, **env):
    """Run it with a terminal as stdout and stderr; what both showed is in `out`."""
    settings = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", **env}
    return Done(*at_a_terminal(command(*args), env=settings), "")


@pytest.fixture(autouse=True)
def plugins_of_a_new_process():
    """A command runs in a process of its own: what plugins did in other tests of this one is none of its business."""
    get_plugin_manager.cache_clear()


@pytest.fixture(scope="session")
def ckpt():
    """Runs `ckpt` with what it is given, away from any terminal."""
    return run_here


@pytest.fixture(scope="session")
def on_terminal():
    return run_on_terminal


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A folder of small checkpoints, written by safetensors and torch."""
    root = tmp_path_factory.mktemp("files")
    weights = {"embed.weight": torch.arange(12.0).reshape(3, 4), "norm.weight": torch.ones(4, dtype=torch.bfloat16)}
    save_file(weights, root / "weights.safetensors", metadata={"origin": "a test"})
    torch.save(weights, root / "weights.pth")
    save_file({"embed.weight": weights["embed.weight"] + 0.5, "extra": torch.zeros(2)}, root / "changed.safetensors")
    save_file({**weights, "norm.weight": torch.full((4,), float("nan"))}, root / "nan.safetensors")
    save_file({**weights, "norm.weight": torch.full((4,), float("-inf"))}, root / "infinite.safetensors")
    torch.save({**weights, "head.weight": weights["embed.weight"]}, root / "tied.pth")
    (root / "cut.safetensors").write_bytes((root / "weights.safetensors").read_bytes()[:-3])
    (root / "odd.safetensors").write_bytes(b"")
    save_file({"a\x1b[31mb [bold]c": torch.zeros(1)}, root / "odd.safetensors")
    _save_training(root, weights)
    run = root / "run"
    run.mkdir()
    for name in ("first.safetensors", "second.safetensors"):
        save_file(weights, run / name)
    (root / "one.toy").write_bytes(b"toy")
    return root


def _save_training(root: Path, weights):
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    for name, rate in (("training.pth", 0.1), ("slower.pth", 0.01)):
        optimizer.param_groups[0]["lr"] = rate
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, root / name)


@pytest.fixture(scope="session")
def plugins(tmp_path_factory):
    """A folder for PYTHONPATH with a plugin that works, one that cannot be imported, and one for a later core."""
    root = tmp_path_factory.mktemp("plugins")
    (root / "toy_plugin.py").write_text(PLUGIN)
    (root / "broken_plugin.py").write_text("import a_module_that_is_not_there\n")
    (root / "later_plugin.py").write_text("raise AssertionError('must not be imported')\n")
    _install(root, "ckpt-toy", "toy = toy_plugin")
    _install(root, "ckpt-broken", "broken = broken_plugin")
    _install(root, "ckpt-later", "later = later_plugin", requires="ckpt-core>=99")
    return str(root)


def _install(root: Path, name: str, point: str, requires: str = "ckpt-core"):
    info = root / f"{name.replace('-', '_')}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\nRequires-Dist: {requires}\n\n")
    (info / "entry_points.txt").write_text(f"[ckpt_core.plugins]\n{point}\n")
