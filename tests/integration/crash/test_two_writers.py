"""Two writers and a reader at one place, in processes of their own: old or new, never a mix, and the loser is told."""

import os
import shutil
import signal

import pytest

import ckpt_core
from ckpt_core.errors import LockedError, OverwriteError
from ckpt_core.reading.digests import fingerprint
from ckpt_core.storage.writing import locks
from ckpt_core.verbs.save import save
from tests.integration.crash.os_calls import in_child
from tests.integration.crash.scenarios import digest_at, weights

_KINDS = {"file": ("m.safetensors", {}), "directory": ("d", {"format": "hf", "options": {"max_shard_size": "2KB"}})}
_ROUNDS = [20, pytest.param(200, marks=pytest.mark.long)]


class Together:
    """Children that begin at the same moment."""

    def __init__(self):
        self._gate = os.pipe()
        self._children = []

    def add(self, work):
        """A child that runs `work` once the gate opens; it ends with what `work` returns, from 0 to 255."""
        child = os.fork()
        if child == 0:
            code = 255
            try:
                os.close(self._gate[1])
                os.read(self._gate[0], 1)
                code = work()
            finally:
                os._exit(code)
        self._children.append(child)

    def run(self):
        """The exit codes, in the order in which the children were added."""
        for end in self._gate:
            os.close(end)
        return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in self._children]


def writer(place, seed, **how):
    def work():
        try:
            save(weights(seed), place, **how)
        except ckpt_core.CkptError as error:
            return error.exit_code
        return 0

    return work


def reader(place, known):
    """Opens the place again and again: 1 where it is neither of the known ones, 2 where it does not open."""

    def work():
        for _ in range(12):
            try:
                if fingerprint(ckpt_core.load(place), "model").digest not in known:
                    return 1
            except ckpt_core.CheckpointNotFoundError:
                if "absent" not in known:
                    return 2
            except ckpt_core.UnreachableError:
                continue  # replaced between two of its files, and said so
            except ckpt_core.CkptError:
                return 2
        return 0

    return work


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("rounds", _ROUNDS)
def test_two_writers_that_replace_leave_one_of_theirs(kind, rounds, tmp_path):
    name, how = _KINDS[kind]
    place = str(tmp_path / name)
    save(weights(1), place, **how)
    known = {digest_at(tmp_path / name)}
    for seed in (2, 3):
        save(weights(seed), str(tmp_path / "known" / name), force=True, **how)
        known.add(digest_at(tmp_path / "known" / name))
    shutil.rmtree(tmp_path / "known")
    clean = set(os.listdir(tmp_path))
    for _ in range(rounds):
        round_ = Together()
        round_.add(writer(place, 2, force=True, **how))
        round_.add(writer(place, 3, force=True, **how))
        round_.add(reader(place, known))
        first, second, read = round_.run()
        assert 0 in (first, second)
        assert {first, second} <= {0, LockedError.exit_code}
        assert read == 0
        assert digest_at(tmp_path / name) in known
        assert set(os.listdir(tmp_path)) == clean


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("rounds", _ROUNDS)
def test_of_two_writers_to_a_new_place_one_wins(kind, rounds, tmp_path):
    name, how = _KINDS[kind]
    known = {"absent"}
    for seed in (2, 3):
        save(weights(seed), str(tmp_path / name), force=True, **how)
        known.add(digest_at(tmp_path / name))
    for number in range(rounds):
        place = tmp_path / str(number) / name
        place.parent.mkdir()
        round_ = Together()
        round_.add(writer(str(place), 2, **how))
        round_.add(writer(str(place), 3, **how))
        round_.add(reader(str(place), known))
        first, second, read = round_.run()
        assert 0 in (first, second)
        assert max(first, second) in (LockedError.exit_code, OverwriteError.exit_code)
        assert read == 0
        assert digest_at(place) in known
        assert not [left for left in os.listdir(place.parent) if left.startswith(".")]


def test_the_lock_of_a_killed_writer_holds_nobody_up(tmp_path):
    path = str(tmp_path / ".m.ckpt-lock")

    def killed():
        with locks.locked(path, place="m"):
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(killed).killed
    assert os.path.exists(path)
    with locks.locked(path, place="m"):
        pass
    assert not os.path.exists(path)
