import os

import pytest

from ckpt_core.errors import LockedError
from ckpt_core.storage.writing.staging import Stage, hold


@pytest.fixture
def leftover(tmp_path):
    """A stage of a writer that was killed."""

    def leave(id, *files):
        stage = Stage(str(tmp_path), "m", id)
        os.makedirs(stage.data)
        for file in files:
            with open(os.path.join(stage.root, file), "wb") as out:
                out.write(b"x")
        return stage

    return leave


def left(tmp_path):
    return sorted(os.listdir(tmp_path))


def test_what_killed_writers_left_is_swept(tmp_path, leftover):
    leftover("save-1", "data/m")
    with hold(str(tmp_path), "m", "save-2") as stage:
        assert left(tmp_path) == [".m.ckpt-lock", ".m.ckpt-stage-save-2"]
        assert os.path.isdir(stage.data)


def test_a_stage_with_a_journal_is_kept_and_found_again(tmp_path, leftover):
    leftover("convert", "journal", "data/m")
    with hold(str(tmp_path), "m", "save-2"):
        assert ".m.ckpt-stage-convert" in left(tmp_path)
    with hold(str(tmp_path), "m", "convert") as stage:
        assert os.listdir(stage.data) == ["m"]


def test_the_stages_of_others_are_left_alone(tmp_path):
    for name in (".m2.ckpt-stage-save-1", ".m.stage", "m.ckpt-stage-1", ".m.ckpt-other"):
        (tmp_path / name).mkdir()
    before = left(tmp_path)
    with hold(str(tmp_path), "m", "save-2") as stage:
        stage.clear()
    assert left(tmp_path) == before


def test_nothing_is_swept_while_another_writes(tmp_path):
    with hold(str(tmp_path), "m", "save-1") as stage:
        with pytest.raises(LockedError), hold(str(tmp_path), "m", "save-2"):
            pass
        assert os.path.isdir(stage.data)


def test_a_link_in_the_place_of_a_stage_is_removed_and_not_followed(tmp_path):
    """In a folder that others write to, anyone can put it there."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "precious").write_bytes(b"x")
    (tmp_path / "out").mkdir()
    for name in (".m.ckpt-stage-save-1", ".m.ckpt-stage-convert", ".m.ckpt-old"):
        (tmp_path / "out" / name).symlink_to(tmp_path / "home")
    (tmp_path / "home" / "journal").write_bytes(b"x")
    (tmp_path / "out" / "m").mkdir()
    with hold(str(tmp_path / "out"), "m", "convert") as stage:
        assert not os.path.islink(stage.root)
    assert sorted(os.listdir(tmp_path / "home")) == ["journal", "precious"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_stage_that_another_user_made_is_not_gone_on_with(tmp_path, leftover):
    stage = leftover("convert", "journal", "data/m")
    os.chown(stage.root, 12345, 12345)
    with hold(str(tmp_path), "m", "convert") as held:
        assert os.listdir(held.data) == []
        assert not os.path.exists(held.journal)


def test_a_former_content_without_a_successor_comes_back(tmp_path):
    (tmp_path / ".m.ckpt-old").mkdir()
    (tmp_path / ".m.ckpt-old" / "w").write_bytes(b"x")
    with hold(str(tmp_path), "m", "save-1"):
        pass
    assert (tmp_path / "m" / "w").read_bytes() == b"x"
    assert not (tmp_path / ".m.ckpt-old").exists()


def test_a_former_content_with_a_successor_goes(tmp_path):
    (tmp_path / ".m.ckpt-old").mkdir()
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "w").write_bytes(b"x")
    with hold(str(tmp_path), "m", "save-1"):
        pass
    assert not (tmp_path / ".m.ckpt-old").exists()
    assert (tmp_path / "m" / "w").exists()
