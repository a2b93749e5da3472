"""An exception in the middle of a write: nothing is visible, no upload is left, and the next write succeeds."""

import random

import fsspec
import numpy as np
import pytest

import ckpt_core
from ckpt_core.errors import CheckpointNotFoundError, PluginError
from ckpt_core.storage.objects.open_store import open_store

MIB = 1 << 20


class StoppedError(Exception):
    """What a caller's own code raises."""


class Stopping:
    """A progress that raises when it has been told so many bytes."""

    def __init__(self, after):
        self.left = after

    def begin(self, total):
        pass

    def advance(self, nbytes):
        self.left -= nbytes
        if self.left < 0:
            raise StoppedError


@pytest.fixture(scope="module")
def tensors():
    """What makes a file of four parts."""
    return {name: np.zeros(size, "u1") for name, size in {"a": 9 * MIB, "b": 1000, "c": 18 * MIB}.items()}


def check(place, tensors, trials):
    store, root = open_store(place)
    chosen, stopped = random.Random(trials), 0
    for trial in range(trials):
        url = f"{place}/{trial}/m.pth"
        try:
            ckpt_core.save(tensors, url, progress=Stopping(chosen.randrange(60 * MIB)))
        except (StoppedError, PluginError):
            stopped += 1
            with pytest.raises(CheckpointNotFoundError):
                ckpt_core.load(url)
            assert list(store.find(f"{root}/{trial}/")) == []
        assert list(store.uploads(f"{root}/{trial}/")) == []
    assert stopped > trials / 2


TRIALS = pytest.mark.parametrize("trials", [5, pytest.param(100, marks=pytest.mark.long)])


@TRIALS
def test_exceptions_leave_nothing_in_memory(tensors, trials):
    fsspec.filesystem("memory").store.clear()
    check("memory://trials", tensors, trials)
    fsspec.filesystem("memory").store.clear()


@TRIALS
def test_exceptions_leave_nothing_on_s3(s3, tensors, trials):
    check(s3.url, tensors, trials)
