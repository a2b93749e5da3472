import os

import pytest

from ckpt_core.errors import LockedError, OverwriteError, UnreachableError
from ckpt_core.storage.writing.locks import locked


def test_only_one_holds_a_lock(tmp_path):
    path = str(tmp_path / "lock")
    with locked(path, place="m"):
        with pytest.raises(LockedError, match="another process is writing there; try again"), locked(path, place="m"):
            pass
        assert os.path.exists(path)


@pytest.mark.parametrize("ending", [None, ValueError, KeyboardInterrupt])
def test_a_lock_is_gone_however_its_block_ends(tmp_path, ending):
    path = str(tmp_path / "lock")
    try:
        with locked(path, place="m"):
            if ending is not None:
                raise ending
    except (ValueError, KeyboardInterrupt):
        pass
    assert not os.path.exists(path)
    with locked(path, place="m"):
        pass


def test_a_lock_file_that_was_left_behind_is_taken(tmp_path):
    path = tmp_path / "lock"
    path.write_bytes(b"")
    with locked(str(path), place="m"):
        pass
    assert not path.exists()


def test_a_file_that_replaced_the_lock_is_not_held_by_the_old_one(tmp_path):
    """Its holder removed it: whoever had opened that file meanwhile looks again."""
    path = tmp_path / "lock"
    with locked(str(path), place="m"):
        path.unlink()
        with locked(str(path), place="m"):
            assert path.exists()


def test_a_link_is_no_lock(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnreachableError), locked(str(tmp_path / "lock"), place="m"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with (
        pytest.raises((UnreachableError, OverwriteError), match="missing"),
        locked(str(tmp_path / "missing" / "lock"), place="m"),
    ):
        pass
