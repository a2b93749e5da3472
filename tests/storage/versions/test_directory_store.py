"""A folder as a store of objects: of two machines that give a name one gets it, whatever their locks are worth."""

import errno
import fcntl
import os

import pytest

from ckpt_core.errors import ConditionFailedError
from ckpt_core.storage.objects.store import ABSENT, Condition
from ckpt_core.storage.versions.directory_store import DirectoryStore
from ckpt_core.storage.versions.names import SIGN
from ckpt_core.storage.writing.mounts.mount_store import MountStore

KEY = "versions/0000000007.json"


@pytest.fixture(params=[DirectoryStore, MountStore])
def machine(request, tmp_path):
    """What opens the folder as another machine does."""
    return lambda: request.param(str(tmp_path))


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_name_is_given_once_where_locks_do_not_reach_the_other_machine(tmp_path, machine, monkeypatch):
    """The other one puts between the look and the naming."""
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    real, met = os.fsync, []

    def fsync(descriptor):
        if not met:
            met.append(1)
            machine().put(KEY, b"theirs", ABSENT)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    store = machine()
    with pytest.raises(ConditionFailedError):
        store.put(KEY, b"ours", ABSENT)
    assert met
    assert store.read(KEY) == b"theirs"
    assert files(tmp_path) == [KEY]


def test_a_link_whose_answer_was_lost_is_ours(tmp_path, machine, monkeypatch):
    real = os.link

    def link(source, target):
        real(source, target)
        raise FileExistsError(errno.EEXIST, "asked again")

    monkeypatch.setattr(os, "link", link)
    store = machine()
    store.put(KEY, b"ours", ABSENT)
    assert store.read(KEY) == b"ours"
    assert files(tmp_path) == [KEY]


def test_a_folder_that_makes_no_links_is_a_store_too(tmp_path, machine, monkeypatch):
    def link(source, target):
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)
    store = machine()
    store.put(KEY, b"ours", ABSENT)
    with pytest.raises(ConditionFailedError):
        store.put(KEY, b"other", ABSENT)
    assert files(tmp_path) == [KEY]


def test_what_replaces_something_holds_a_lock_that_servers_know_of(tmp_path, monkeypatch):
    """That of a file which is open for writing."""
    store = DirectoryStore(str(tmp_path))
    store.put(SIGN, b"{}", ABSENT)
    before = store.put(KEY, b"first", ABSENT)
    real, locked = fcntl.flock, []

    def flock(descriptor, how):
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR:
            locked.append(os.fstat(descriptor).st_ino)
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    store.put(KEY, b"second", Condition(version=before.version))
    assert locked == [(tmp_path / SIGN).stat().st_ino]
