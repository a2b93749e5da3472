"""What looking into a directory imports: the rules of the layout it is, and of no other."""

import json
import subprocess
import sys

import pytest

CODE = """
import contextlib, io, json, sys
from ckpt_core.cli.main import main
with contextlib.redirect_stdout(io.StringIO()):
    code = main(["inspect", sys.argv[1]])
print(json.dumps([code, sorted(name for name in sys.modules if name.startswith("ckpt_"))]))
"""


def inspected(place):
    done = subprocess.run([sys.executable, "-c", CODE, str(place)], capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stdout)
    assert code == 0
    return {name for name in modules if name.startswith(("ckpt_fsdp.", "ckpt_hf."))}


@pytest.fixture
def place(tmp_path):
    import numpy as np

    import ckpt_core

    ckpt_core.save({"model": {"w": np.zeros((2, 2), "f4")}}, str(tmp_path / "x"), format="dcp")
    return tmp_path / "x"


def test_a_dcp_directory_costs_nothing_of_other_layouts(place):
    modules = inspected(place)
    assert "ckpt_fsdp.dcp.opening" in modules
    rules = {name for name in modules if name.count(".") == 2}
    # Lightning's directories are DCP directories too, which it takes a look to tell apart.
    assert {name.rpartition(".")[0] for name in rules} == {"ckpt_fsdp.dcp", "ckpt_fsdp.lightning"}
    assert {name for name in modules if name.startswith("ckpt_hf")} == {"ckpt_hf.plugin"}


def test_detection_opens_nothing_of_a_layout_that_only_resembles(place):
    (place / "optimizer.bin").write_bytes(b"")
    modules = inspected(place)
    assert "ckpt_hf.accelerate.detection" in modules
    assert [name for name in modules if name.endswith(".opening")] == ["ckpt_fsdp.dcp.opening"]
