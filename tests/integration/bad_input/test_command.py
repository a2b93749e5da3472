"""A sample of the corpus through the installed `ckpt` command: one line on stderr, the promised exit code."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.bad_input.cases import marker_of
from tests.integration.bad_input.corpus import PARTS, part

SAMPLE = (
    "safetensors: tensor twice, alike",
    "safetensors: overlap, under a name with escape sequences",
    "safetensors: a terabyte of zeros",
    "zip: one bit of storage 0 flipped",
    "zip: two names swapped in the local headers",
    "zip: encrypted",
    "zip: TorchScript without its module",
    "pickle: runs code: os.system",
    "pickle: runs code: BUILD with __setstate__",
    "pickle: bomb: a broadcast of 2**60 elements",
    "pickle: lie: a storage that is missing",
    "legacy: runs code: pkgutil.resolve_name",
    "legacy: a storage that says it has 5 elements",
    "lookalike: a git-lfs pointer as model.safetensors",
    "lookalike: a web page as model.bin",
    "hf: a shard named '../outside.safetensors'",
    "place: a pipe",
    "place: nothing there",
    "benign: torch: a trainer's state",
    "benign: place: a name that is written from right to left",
)
CKPT = Path(sys.executable).with_name("ckpt")


@pytest.fixture(scope="module")
def cases():
    parts = {name.partition(":")[0] for name in SAMPLE} | {"lookalike"}
    return {case.name: case for name in PARTS if name in parts for case in part(name)}


@pytest.mark.parametrize("name", SAMPLE)
def test_the_command_answers_as_promised(tmp_path, cases, name):
    case = cases[name]
    folder = tmp_path / "case"
    folder.mkdir()
    path = case.build(folder)
    command = [CKPT] if CKPT.exists() else [sys.executable, "-m", "ckpt_core.cli.main"]
    done = subprocess.run([*command, "verify", "--depth", "bytes", path], capture_output=True, text=True, timeout=60)
    assert done.returncode in (case.exits or {0})
    assert "Traceback" not in done.stderr
    assert case.says in done.stdout + done.stderr
    assert all(char == "\n" or char.isprintable() for char in done.stdout + done.stderr)
    assert not marker_of(folder).exists()
