"""What writers left on a disk is listed with age and bytes, and removed only where nobody is at work."""

import os
import time

import pytest

from ckpt_core.errors import LockedError
from ckpt_core.storage.writing.local_leftovers import local_leftovers
from ckpt_core.storage.writing.locks import locked


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


def stage(out, name="m", id="convert-1", *, journal=False, size=5000):
    root = out / f".{name}.ckpt-stage-{id}"
    (root / "data").mkdir(parents=True)
    (root / "data" / name).write_bytes(b"x" * size)
    if journal:
        (root / "journal").write_text("digest\n")
    return root


def only(path):
    (found,) = local_leftovers(str(path))
    return found


def names(out):
    return sorted(os.listdir(out))


def test_a_stage_is_listed_with_its_bytes_and_age_and_removed(out):
    root = stage(out, journal=True)
    (out / ".m.ckpt-lock").touch()
    (out / "m").write_bytes(b"kept")
    for path in (root / "data" / "m", root / "journal", out / ".m.ckpt-lock"):
        os.utime(path, (time.time() - 3600,) * 2)
    found = only(out)
    assert (found.place, found.kind, found.held) == (str(out / "m"), "unfinished write that can go on", "")
    assert (found.size, found.count, found.uploads) == (5007, 3, 0)
    assert 3590 < found.age < 3700
    found.remove()
    assert names(out) == ["m"]


@pytest.mark.parametrize("named", ["m", "", "m/deep", "other"])
def test_one_destination_shows_what_was_left_of_it_and_below_it(out, named):
    stage(out)
    (out / "m" / "deep").mkdir(parents=True)
    stage(out / "m" / "deep", "n")
    found = sorted(os.path.relpath(one.place, out) for one in local_leftovers(str(out / named)))
    assert found == {"m": ["m", "m/deep/n"], "": ["m", "m/deep/n"], "m/deep": ["m/deep/n"], "other": []}[named]


def test_what_a_writer_is_at_work_at_is_listed_as_held_and_not_removed(out):
    root = stage(out)
    with locked(str(out / ".m.ckpt-lock"), place="m"):
        found = only(out)
        assert found.held == "another process of this machine"
        with pytest.raises(LockedError):
            found.remove()
    assert root.exists()
    assert names(out) == [root.name]


def test_a_lock_that_nobody_holds_is_a_leftover_and_looking_at_it_leaves_it(out):
    (out / ".m.ckpt-lock").touch()
    assert only(out).kind == "lock that nobody holds"
    only(out).remove()
    assert names(out) == []


def test_a_content_between_two_names_is_given_its_name_back(out):
    old = out / ".m.ckpt-old"
    old.mkdir()
    (old / "a").write_bytes(b"content")
    found = only(out)
    assert (found.kind, found.size) == ("replacing that was stopped", 7)
    found.remove()
    assert names(out) == ["m"]
    assert (out / "m" / "a").read_bytes() == b"content"


def test_a_former_content_goes_where_the_new_one_has_the_name(out):
    for name in (".m.ckpt-old", "m"):
        (out / name).mkdir()
        (out / name / "a").write_bytes(name.encode())
    only(out).remove()
    assert (out / "m" / "a").read_bytes() == b"m"
    assert names(out) == ["m"]


@pytest.mark.parametrize(
    "name", [".ckpt-backup-1", ".m.ckpt-stage", "m.ckpt-stage-1", ".m.other-stage-1", ".ckpt-lock"]
)
def test_what_only_looks_like_one_is_left_alone(out, name):
    (out / name).mkdir()
    assert list(local_leftovers(str(out))) == []


def test_a_link_is_removed_and_what_it_leads_to_stays(out, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_bytes(b"x" * 100)
    (out / ".m.ckpt-stage-1").symlink_to(elsewhere)
    (out / "linked").symlink_to(elsewhere)
    found = only(out)
    assert found.size < 100
    found.remove()
    assert names(out) == ["linked"]
    assert (elsewhere / "precious").exists()


def test_a_sparse_stage_counts_what_it_takes(out):
    root = stage(out)
    os.truncate(root / "data" / "m", 1 << 30)
    assert only(out).size < 1 << 20


def test_what_is_not_there_has_no_leftovers(out):
    assert list(local_leftovers(str(out / "none" / "deeper"))) == []
