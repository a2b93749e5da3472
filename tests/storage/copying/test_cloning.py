"""Sharing storage: taken where the disk can, proved all the same, and moved where it cannot."""

import errno
import fcntl
import os

import numpy as np
import pytest

import ckpt_core
from ckpt_core import CorruptError, ReplacedError
from ckpt_core.storage.copying.cloning import clone
from ckpt_core.storage.copying.to_disk import PART


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "a.safetensors"
    ckpt_core.save({"a": np.arange(3 * PART // 8)}, path)
    return path


@pytest.fixture
def can_share(monkeypatch):
    """A disk that can: the call of the system is stood in for, and counted, since no such disk is at hand in tests."""
    calls = []

    def ioctl(target, request, source):
        calls.append(request)
        os.pwrite(target, os.pread(source, os.fstat(source).st_size, 0), 0)
        return 0

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    return calls


def test_where_the_disk_can_nothing_is_moved_and_all_is_proved(source, tmp_path, can_share):
    done = ckpt_core.copy(source, tmp_path / "b.safetensors")
    assert can_share == [0x40049409]
    assert (done.moved, done.shared, done.checked) == (0, 4, "seal")
    assert (tmp_path / "b.safetensors").read_bytes() == source.read_bytes()


def test_damage_shows_although_nothing_is_moved(source, tmp_path, can_share):
    data = bytearray(source.read_bytes())
    data[2 * PART] ^= 1
    source.write_bytes(data)
    with pytest.raises(CorruptError, match="not what was sealed"):
        ckpt_core.copy(source, tmp_path / "b.safetensors")
    assert can_share
    assert not (tmp_path / "b.safetensors").exists()


def test_a_source_without_a_seal_is_sealed_by_what_is_shared(source, tmp_path, can_share):
    os.remove(f"{source}.ckpt.json")
    assert ckpt_core.copy(source, tmp_path / "b.safetensors").seal == "new"
    assert ckpt_core.verify(tmp_path / "b.safetensors", depth="bytes").report.ok


@pytest.mark.parametrize("code", ["EOPNOTSUPP", "EXDEV", "EINVAL", "ENOTTY"])
def test_where_the_disk_cannot_the_bytes_are_moved(source, tmp_path, monkeypatch, code):

    def refuse(*_):
        raise OSError(getattr(errno, code), code)

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    done = ckpt_core.copy(source, tmp_path / "b.safetensors")
    assert (done.moved, done.shared) == (4, 0)
    assert (tmp_path / "b.safetensors").read_bytes() == source.read_bytes()


def test_the_file_that_is_shared_is_the_one_that_was_listed(source, tmp_path):
    target = tmp_path / "b"
    target.touch()

    def opened(_):
        raise ReplacedError("another one")

    with pytest.raises(ReplacedError):
        clone(str(source), str(target), opened=opened)
    assert target.stat().st_size == 0
