"""A full disk and a mount that is read-only: one clear line with path and errno, and the last good one stays."""

import gc
import os
import subprocess

import pytest

from ckpt_core.errors import BudgetError, CkptError, UnreachableError
from tests.training.small_training import checkpointer, training


@pytest.fixture
def small_disk(tmp_path):
    """A filesystem of memory with little room, where this process may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True)
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.decode().strip()}")
    yield place
    gc.collect()  # a checkpoint that refers to itself keeps its folder open until then
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_leaves_the_last_good_one_and_room_lets_the_same_call_work(small_disk):
    made = training()
    with checkpointer(small_disk / "run", made, save_every=1, keep=1) as saver:
        made.run(1, saver)
        (small_disk / "ballast").write_bytes(bytes(_free(small_disk) - 8192))
        with pytest.raises(BudgetError, match=r"run.*(free|ENOSPC)") as caught:
            made.run(2, saver)
        assert "\n" not in caught.value.message
        made.step = 2
        assert [name for name in os.listdir(small_disk / "run") if name[0] != "."] == ["checkpoint-1"]
        (small_disk / "ballast").unlink()
        saver.save(2)
        assert [name for name in os.listdir(small_disk / "run") if name[0] != "."] == ["checkpoint-2"]
    with checkpointer(small_disk / "run", training(seed=5)) as saver:
        assert saver.resume().step == 2


def _free(place):
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize


def test_a_mount_that_is_read_only_is_told_by_path_and_errno(small_disk):
    made = training()
    with checkpointer(small_disk / "run", made, save_every=1) as saver:
        made.run(1, saver)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises((UnreachableError, CkptError), match=r"run.*\(EROFS\)"), checkpointer(small_disk / "run", made):
        pass
