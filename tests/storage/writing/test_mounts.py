"""Which mounts cannot commit by a rename: asked by name and by a try, and nothing is left of the try."""

import os

import pytest

from ckpt_core.storage.writing.mounts.renames import commits_by_rename
from tests.servers.bucket_mount import bucket_mount


@pytest.mark.parametrize(
    ("kind", "renames", "expected"),
    [
        ("gcsfuse", "all", False),  # its rename of a folder is one of each file, whatever it answers
        ("rclone", "all", False),
        ("unheard-of", "none", False),
        ("unheard-of", "files", False),
        ("sshfs", "all", True),
    ],
)
def test_a_mount_is_told_by_its_name_and_by_a_try(tmp_path, kind, renames, expected):
    with bucket_mount(tmp_path / "mount", tmp_path / "kept", renames=renames, kind=kind) as mount:
        assert commits_by_rename(str(mount)) is expected
        (mount / "below").mkdir()
        assert commits_by_rename(str(mount / "below")) is expected
        assert os.listdir(mount) == ["below"] and os.listdir(mount / "below") == []


@pytest.mark.parametrize("folder", ["/dev/shm", "disk"])
def test_a_disk_and_memory_rename(tmp_path, folder):
    assert commits_by_rename(str(tmp_path) if folder == "disk" else folder)
