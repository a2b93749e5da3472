"""What a start imports: nothing heavy, or every command would pay for it."""

import json
import subprocess
import sys

import pytest

HEAVY = {"aiohttp", "fsspec", "numpy", "rich", "s3fs", "safetensors", "torch", "transformers", "wandb", "xxhash"}
CODE = """
import contextlib, io, json, sys
from ckpt_core.cli.main import main
with contextlib.redirect_stdout(io.StringIO()):
    code = main(sys.argv[1:])
print(json.dumps([code, sorted(sys.modules)]))
"""


def _modules(*args):
    done = subprocess.run([sys.executable, "-c", CODE, *map(str, args)], capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stdout)
    assert code == 0
    return set(modules)


def test_help_imports_nothing_heavy_and_looks_for_no_plugin():
    modules = _modules("--help")
    assert not modules & HEAVY
    assert not modules & {"pluggy", "ckpt_core.manager", "ckpt_core.verbs", "ckpt_core.cli.commands.inspect"}


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth", "run"])
def test_inspect_of_local_files_imports_nothing_heavy(files, name):
    assert not _modules("inspect", files / name) & HEAVY


def test_a_list_of_tensors_imports_nothing_heavy(files):
    assert not _modules("inspect", files / "weights.pth", "--tensors") & HEAVY


@pytest.mark.parametrize("args", [("plugins",), ("formats",), ("locate", "."), ("completion", "fish")])
def test_commands_that_read_no_tensor_import_nothing_heavy(args):
    assert not _modules(*args) & HEAVY
