"""The mount behaves as its kind does: files are written, read, listed and removed, and what it lacks is refused."""

import os
from pathlib import Path

import pytest

from tests.servers.bucket_mount import bucket_mount


def test_files_are_written_in_order_listed_read_and_removed(tmp_path):
    data = os.urandom(3_000_000)
    with bucket_mount(tmp_path / "mount", tmp_path / "kept") as mount:
        (mount / "run").mkdir()
        (mount / "run" / "a.bin").write_bytes(data)
        assert (mount / "run" / "a.bin").read_bytes() == data
        assert sorted(os.listdir(mount / "run")) == ["a.bin"]
        with pytest.raises(FileExistsError):
            (mount / "run" / "a.bin").open("xb")
        (mount / "run" / "a.bin").unlink()
        assert not (mount / "run" / "a.bin").exists()
        (mount / "run").rmdir()
        for number in range(3000):
            (mount / f"n{number}").touch()
        assert len(os.listdir(mount)) == 3000
    assert os.listdir(tmp_path / "mount") == []


@pytest.mark.parametrize(("renames", "files", "folders"), [("none", 0, 0), ("files", 1, 0), ("all", 1, 1)])
def test_it_renames_what_its_kind_does(tmp_path, renames, files, folders):
    with bucket_mount(tmp_path / "mount", tmp_path / "kept", renames=renames, kind="odd") as mount:
        assert f"{mount} " in Path("/proc/self/mountinfo").read_text()
        (mount / "a").write_bytes(b"x")
        (mount / "folder").mkdir()
        (mount / "folder" / "b").write_bytes(b"x")
        for source, target, works in (("a", "b", files), ("folder", "other", folders)):
            if works:
                os.rename(mount / source, mount / target)
                assert (mount / target).exists() and not (mount / source).exists()
            else:
                with pytest.raises(OSError):
                    os.rename(mount / source, mount / target)
                assert (mount / source).exists() and not (mount / target).exists()


def test_only_appending_works_where_names_are_given_once(tmp_path):
    with bucket_mount(tmp_path / "mount", tmp_path / "kept") as mount, open(mount / "a", "wb", buffering=0) as file:
        file.seek(10)
        with pytest.raises(OSError):
            file.write(b"x")
