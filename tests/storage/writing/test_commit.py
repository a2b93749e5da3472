"""What can only be seen between the calls of a commit; the crash tests stop it at each of them."""

import os

import pytest

from ckpt_core.errors import OverwriteError, UnreachableError
from ckpt_core.storage.writing import syscalls
from ckpt_core.storage.writing.commit import finish, name_directory, name_file
from ckpt_core.storage.writing.staging import hold


@pytest.fixture
def stage(tmp_path):
    with hold(str(tmp_path), "m", "save-1") as held:
        yield held


def staged_file(stage, data=b"new", seal=b"new seal"):
    for name, content in (("m", data), ("m.ckpt.json", seal)):
        syscalls.write_file(os.path.join(stage.data, name), content)


def test_a_file_is_named_and_then_sealed(stage, tmp_path):
    staged_file(stage)
    name_file(stage, replace=False)
    assert (tmp_path / "m").read_bytes() == b"new"
    assert not (tmp_path / "m.ckpt.json").exists()
    finish(stage, seal=True)
    assert (tmp_path / "m.ckpt.json").read_bytes() == b"new seal"
    assert sorted(os.listdir(tmp_path)) == [".m.ckpt-lock", "m", "m.ckpt.json"]


def test_an_old_seal_is_gone_before_the_data_it_is_not_of_has_the_name(stage, tmp_path):
    (tmp_path / "m").write_bytes(b"old")
    (tmp_path / "m.ckpt.json").write_bytes(b"old seal")
    staged_file(stage)
    name_file(stage, replace=True)
    assert (tmp_path / "m").read_bytes() == b"new"
    assert not (tmp_path / "m.ckpt.json").exists()


def test_a_seal_without_a_file_does_not_come_to_seal_the_new_one(stage, tmp_path):
    (tmp_path / "m.ckpt.json").write_bytes(b"of a file that was removed")
    staged_file(stage)
    name_file(stage, replace=False)
    assert not (tmp_path / "m.ckpt.json").exists()


def test_a_file_that_could_not_be_replaced_keeps_its_seal(stage, tmp_path, monkeypatch):
    (tmp_path / "m").write_bytes(b"old")
    (tmp_path / "m.ckpt.json").write_bytes(b"old seal")
    staged_file(stage)
    real = os.rename

    def failing(source, target):
        if target == str(tmp_path / "m"):
            raise OSError(5, "Input/output error")
        real(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(UnreachableError, match="nothing was committed"):
        name_file(stage, replace=True)
    assert (tmp_path / "m").read_bytes() == b"old"
    assert (tmp_path / "m.ckpt.json").read_bytes() == b"old seal"


def test_what_is_there_is_kept_without_force(stage, tmp_path):
    (tmp_path / "m").write_bytes(b"old")
    staged_file(stage)
    with pytest.raises(OverwriteError, match="force=True"):
        name_file(stage, replace=False)
    with pytest.raises(OverwriteError):
        name_directory(stage, replace=False)
    assert (tmp_path / "m").read_bytes() == b"old"


def test_a_failure_after_the_rename_does_not_say_that_nothing_was_committed(stage, tmp_path, monkeypatch):
    staged_file(stage)
    name_file(stage, replace=False)

    def failing(descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(UnreachableError, match=r"is written, but .*input/output error.*force=True") as caught:
        finish(stage, seal=True)
    assert "nothing was committed" not in str(caught.value)
    assert (tmp_path / "m").read_bytes() == b"new"
