"""Scripts in forks are what they are under torchrun: their environment, their imports, how they fail."""

import json
import subprocess

import pytest

from tests.servers.scripts import ForkedScripts, imports_of

SCRIPT = """
import json
import os
import sys
import time
import beside
import torch.distributed as dist

assert __name__ == "__main__" and "pytest" not in sys.modules
dist.init_process_group("gloo")
if sys.argv[1] == "fail" and dist.get_rank() == 1:
    raise ValueError("of rank 1")
seen = [None] * dist.get_world_size()
assert not sys.stdin.read()
dist.all_gather_object(seen, [os.getpid(), os.environ["LOCAL_RANK"], os.environ["OF_THE_RUN"], beside.NAME])
if sys.argv[1] == "hang":
    time.sleep(600)
if dist.get_rank() == 0:
    print(json.dumps(seen))
dist.barrier()
dist.destroy_process_group()
"""


@pytest.fixture
def script(tmp_path):
    (tmp_path / "beside.py").write_text("from torch import nn\nNAME = nn.__name__\n")
    (tmp_path / "train.py").write_text(SCRIPT)
    return tmp_path / "train.py"


@pytest.fixture
def forks():
    running = ForkedScripts({"OMP_NUM_THREADS": "1"})
    yield running
    running.end()


def test_what_is_imported_before_the_forks_is_what_is_installed(script):
    assert imports_of(script) == ["import torch.distributed as dist", "from torch import nn"]


@pytest.mark.timeout(900)
def test_ranks_meet_fail_and_are_ended_as_torchrun_has_them(script, forks, monkeypatch):
    monkeypatch.setenv("OF_THE_RUN", "first")
    done = forks.run(script, ["go"], ranks=2, timeout=240)
    assert done.returncode == 0, done.stderr
    (first, zero, *_), (second, one, run, beside) = json.loads(done.stdout)
    assert first != second and (zero, one, run, beside) == ("0", "1", "first", "torch.nn")
    monkeypatch.setenv("OF_THE_RUN", "second")
    done = forks.run(script, ["fail"], ranks=2, timeout=240)
    assert done.returncode == 1 and "ValueError: of rank 1" in done.stderr
    with pytest.raises(subprocess.TimeoutExpired):
        forks.run(script, ["hang"], ranks=2, timeout=3)
    assert '"second"' in forks.run(script, ["go"], ranks=1, timeout=240).stdout
