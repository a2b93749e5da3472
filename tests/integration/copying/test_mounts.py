"""Copies to and from a mount that cannot rename, stopped and cleaned up after."""

import gc
import os
import signal
import subprocess
import sys
import time

import pytest

import ckpt_core
from ckpt_core import clean, copy
from tests.servers.bucket_mount import bucket_mount
from tests.storage.copying.checkpoints import contents_of, model_directory

CHILD = """
import os, signal, sys
from ckpt_core import copy
from ckpt_core.storage.copying import noted_parts
flush = noted_parts.PartNotes.flush
def stop(self):
    flush(self)
    if self._number > int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
noted_parts.PartNotes.flush = stop
copy(sys.argv[1], sys.argv[2])
"""


@pytest.fixture
def mount(tmp_path):
    with bucket_mount(tmp_path / "mount", tmp_path / "kept", renames="none") as place:
        yield place
        gc.collect()  # what is still open there keeps the mount


def plain(folder):
    return {path: data for path, data in contents_of(folder).items() if not path.startswith(("ckpt.", ".ckpt-"))}


def test_a_directory_goes_to_a_mount_and_comes_back(mount, tmp_path):
    source = model_directory(tmp_path / "model")
    copy(source, mount / "out")
    assert plain(mount / "out") == contents_of(source)
    assert ckpt_core.verify(mount / "out", depth="bytes").report.ok
    other = model_directory(tmp_path / "other", seed=4)
    copy(other, mount / "out", force=True)
    copy(mount / "out", tmp_path / "back")
    assert plain(tmp_path / "back") == contents_of(other)
    copy(mount / "out", mount / "again")
    assert plain(mount / "again") == contents_of(other)
    assert copy(mount / "out", mount / "again").already_done


def killed(source, place, notes):
    child = subprocess.run([sys.executable, "-c", CHILD, str(source), str(place), str(notes)], timeout=60)
    assert child.returncode == -signal.SIGKILL
    time.sleep(0.1)


def test_a_copy_killed_on_a_mount_is_gone_on_from(mount, tmp_path):
    source = model_directory(tmp_path / "model")
    killed(source, mount / "out", 3)
    done = copy(source, mount / "out")
    assert done.kept
    assert plain(mount / "out") == contents_of(source)
    assert ckpt_core.verify(mount / "out", depth="bytes").report.ok


def test_what_a_killed_copy_left_on_a_mount_is_cleaned(mount, tmp_path):
    source = model_directory(tmp_path / "model")
    copy(source, mount / "good")
    before = contents_of(mount)
    killed(source, mount / "out", 3)
    for place in (mount / "out", mount):
        assert [one.place for one in clean(place).found] == [str(mount / "out")]
    done = clean(mount, apply=True)
    assert done.found[0].removed
    assert contents_of(mount) == before
    assert clean(mount).found == ()
    assert not os.path.lexists(mount / "out") or not os.listdir(mount / "out")
    copy(source, mount / "out")
