import errno
import os

import pytest

from ckpt_core.errors import BudgetError, OverwriteError, UnreachableError, UsageError
from ckpt_core.storage.writing import syscalls


@pytest.mark.parametrize(
    ("code", "kind", "exit_code"),
    [
        (errno.ENOSPC, BudgetError, 8),
        (errno.EDQUOT, BudgetError, 8),
        (errno.EIO, UnreachableError, 5),
        (errno.EROFS, UnreachableError, 5),
        (errno.EACCES, UnreachableError, 5),
        (errno.ENOTEMPTY, OverwriteError, 9),
        (errno.EISDIR, OverwriteError, 9),
        (errno.ENAMETOOLONG, UsageError, 2),
    ],
)
def test_what_the_system_says_becomes_one_line_with_the_path(code, kind, exit_code):
    error = syscalls.as_ckpt_error(OSError(code, os.strerror(code)), "/a/b\n")
    assert type(error) is kind
    assert error.exit_code == exit_code
    assert os.strerror(code).lower() in str(error)
    assert str(error).startswith("/a/b\\n: ")


def test_a_write_the_system_cuts_short_goes_on(tmp_path, monkeypatch):
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: real(descriptor, data[:3], offset))
    syscalls.write_file(str(tmp_path / "f"), b"0123456789")
    assert (tmp_path / "f").read_bytes() == b"0123456789"


def test_a_file_that_exists_is_never_taken_for_new(tmp_path):
    (tmp_path / "f").write_bytes(b"x")
    (tmp_path / "l").symlink_to(tmp_path / "nothing")
    for name in ("f", "l"):
        with pytest.raises(OverwriteError):
            syscalls.create(str(tmp_path / name))
    with pytest.raises(UnreachableError):
        syscalls.reopen(str(tmp_path / "l"))


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_where_space_cannot_be_reserved_the_file_still_has_its_size(tmp_path, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    descriptor = syscalls.create(str(tmp_path / "f"))
    syscalls.allocate(descriptor, 100, "f")
    os.close(descriptor)
    assert (tmp_path / "f").stat().st_size == 100


def test_a_file_in_the_place_of_a_directory_is_named(tmp_path):
    (tmp_path / "f").write_bytes(b"x")
    (tmp_path / "d").mkdir()
    (tmp_path / "l").symlink_to(tmp_path / "d")
    syscalls.make_directory(str(tmp_path / "d"))
    for name in ("f", "l"):
        with pytest.raises(OverwriteError, match="is not a directory"):
            syscalls.make_directory(str(tmp_path / name))


def test_removing_follows_no_link_anywhere(tmp_path):
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep" / "f").write_bytes(b"x")
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "f").write_bytes(b"x")
    (tmp_path / "tree" / "l").symlink_to(tmp_path / "keep")
    (tmp_path / "tree" / "deep" / "l").symlink_to(tmp_path / "keep" / "f")
    (tmp_path / "root").symlink_to(tmp_path / "keep")
    for name in ("tree", "root", "nothing"):
        syscalls.remove_tree(str(tmp_path / name))
    assert os.listdir(tmp_path) == ["keep"]
    assert os.listdir(tmp_path / "keep") == ["f"]


def test_names_are_exchanged_in_one_step(tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").mkdir()
    if not syscalls.exchange(str(tmp_path / "a"), str(tmp_path / "b")):
        pytest.skip("this filesystem cannot exchange names")
    assert (tmp_path / "b").read_bytes() == b"a"
    with pytest.raises(UnreachableError):
        syscalls.exchange(str(tmp_path / "none"), str(tmp_path / "b"))


def test_a_new_name_is_never_taken_from_another_file(tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    with pytest.raises(OverwriteError, match="appeared while it was being written"):
        syscalls.rename_new(str(tmp_path / "a"), str(tmp_path / "b"))
    assert (tmp_path / "b").read_bytes() == b"b"
    syscalls.rename_new(str(tmp_path / "a"), str(tmp_path / "c"))
    assert sorted(os.listdir(tmp_path)) == ["b", "c"]
