"""Conversions into a store under torchrun: each rank puts parts of its own, and one commits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ckpt_core
from ckpt_core.storage.objects.open_store import open_store
from tests.storage.ranks_in_threads import in_ranks

CHILD = Path(__file__).with_name("torchrun_child.py")
BIG = {f"t{number}": np.arange(number << 17, (number << 17) + (7 << 18), dtype="f4") for number in range(6)}


@pytest.fixture(params=["s3", pytest.param("gcs", marks=pytest.mark.long)])
def place(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def source(place):
    return ckpt_core.save(BIG, f"{place.url}/source.safetensors").location


def etag_of(url):
    store, key = open_store(url)
    return store.head(key).version


def leftovers(url):
    store, root = open_store(url)
    return [one.key for one in store.find(f"{root}/") if ".ckpt-" in one.key], list(store.uploads(f"{root}/"))


def test_two_processes_write_what_one_writes(place, source, tmp_path):
    ckpt_core.convert(source, f"{place.url}/alone.pth", to="torch")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    command += ["-m", "ckpt_core.cli.main", "convert", source, f"{place.url}/both.pth", "--to", "torch", "--json"]
    done = subprocess.run(
        command, env={**os.environ, **place.env}, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["result"]["tensors"] == len(BIG)
    if place.url.startswith("s3"):
        assert etag_of(f"{place.url}/both.pth") == etag_of(f"{place.url}/alone.pth"), "the same parts"
    assert ckpt_core.diff(source, f"{place.url}/both.pth").identical
    assert leftovers(place.url) == ([], [])


class Stop:
    """A progress that is interrupted once so many bytes are written."""

    def __init__(self, after):
        self.left = after

    def begin(self, total):
        pass

    def advance(self, count):
        self.left -= count
        if self.left < 0:
            raise OSError("the process is gone")


@pytest.mark.parametrize(("name", "to"), [("out", "hf"), ("out.pth", "torch")])
def test_other_ranks_go_on_from_what_those_that_stopped_have_put(place, source, name, to):
    def work(after):
        return lambda ranks: ckpt_core.convert(
            source, f"{place.url}/{name}", to=to, ranks=ranks, progress=Stop(after if ranks.rank else 1 << 40)
        )

    failed = in_ranks(2, work(2 * BIG["t0"].nbytes))
    assert all(isinstance(one, Exception) for one in failed), failed
    store, root = open_store(place.url)
    assert [one for one in store.find(f"{root}/") if ".ckpt-journal/" in one.key]
    ended = in_ranks(3, work(1 << 40))
    assert not [one for one in ended if isinstance(one, Exception)], ended
    assert ckpt_core.diff(source, f"{place.url}/{name}").identical
    assert ckpt_core.verify(f"{place.url}/{name}", depth=ckpt_core.Depth.BYTES).report.ok
    assert leftovers(place.url) == ([], [])
