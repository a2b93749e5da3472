"""A copy killed anywhere and run again: the same files, and no part that was done is moved again."""

import mmap
import os
import shutil

import pytest

import ckpt_core
from ckpt_core import knobs
from ckpt_core.storage.copying import to_disk
from tests.integration.crash.os_calls import Fault, Stopper, faults_of, in_child, intercept
from tests.integration.crash.scenarios import contents, weights
from tests.integration.crash.test_stopped_writes import everything, spread

PART = 1 << 20
"""The least that a part can be: a block of a seal."""


class Moves:
    """How often each part of a file was written, counted where a killed child's count can still be read."""

    def __init__(self, most=16):
        self._shared = mmap.mmap(-1, most)

    def see(self, args):
        if os.readlink(f"/proc/self/fd/{args[0]}").endswith("data/a.safetensors"):
            self._shared[args[2] // PART] += 1

    def taken(self):
        found = list(self._shared[:])
        self._shared[:] = bytes(len(found))
        return found


@pytest.fixture
def source(tmp_path):
    """A folder of two files, of three parts each."""
    folder = tmp_path / "source"
    for number, name in enumerate("ab"):
        ckpt_core.save(weights(number, rows=22_000), folder / f"{name}.safetensors")
        os.remove(folder / f"{name}.safetensors.ckpt.json")
    return folder


def run(source, place, fault, moves, **how):
    def work():
        to_disk.PART = PART
        stopper = Stopper(fault)

        def around(name, call, args, kwargs):
            if name == "pwrite":
                moves.see(args)
            return stopper(name, call, args, kwargs)

        intercept(around)
        with knobs.override(workers=1):
            ckpt_core.copy(str(source), str(place), **how)
        return stopper.names

    return in_child(work)


def writes(calls):
    """The numbers of the writes of an undisturbed run: of the journal's first line, of three parts, of the seal."""
    found = [number for number, name in enumerate(calls, 1) if name == "pwrite"]
    assert len(found) == 5
    return found


def one_file(source):
    return source / "a.safetensors"


@pytest.mark.parametrize("points", [10, pytest.param(60, marks=pytest.mark.long)])
def test_a_copy_killed_and_run_again_moves_at_most_one_part_twice(source, points, tmp_path):
    moves = Moves()
    (tmp_path / "known").mkdir()
    undisturbed = run(one_file(source), tmp_path / "known" / "a.safetensors", None, moves)
    assert undisturbed.well, undisturbed
    whole, parts = everything(tmp_path / "known"), sum(moves.taken())
    assert parts == 3
    faults = [fault for fault in faults_of(undisturbed.value) if fault.how in ("before", "after", "torn")]
    for fault in spread(faults, points):
        out = tmp_path / "struck"
        out.mkdir()
        assert run(one_file(source), out / "a.safetensors", fault, moves).killed
        first = moves.taken()
        again = run(one_file(source), out / "a.safetensors", None, moves)
        assert again.well, (fault, again)
        both = [one + other for one, other in zip(first, moves.taken(), strict=True)]
        assert sum(both) <= parts + 1, fault
        assert max(both) <= 2
        assert everything(out) == whole, fault
        shutil.rmtree(out)


@pytest.mark.parametrize("how", ["ENOSPC", "EIO"])
def test_a_disk_that_fails_is_one_clear_line_and_the_next_run_goes_on(source, how, tmp_path):
    moves = Moves()
    calls = run(one_file(source), tmp_path / "known.safetensors", None, moves).value
    moves.taken()
    last = writes(calls)[3]
    ending = run(one_file(source), tmp_path / "a.safetensors", Fault(last, how), moves)
    assert ending.exit_code == {"ENOSPC": 8, "EIO": 5}[how]
    assert "\n" not in ending.message
    assert not os.path.exists(tmp_path / "a.safetensors")
    moves.taken()
    assert run(one_file(source), tmp_path / "a.safetensors", None, moves).well
    assert sum(moves.taken()) == 1


@pytest.mark.parametrize("sealed", [False, True])
def test_a_stage_that_was_changed_meanwhile_is_moved_again(source, sealed, tmp_path):
    moves = Moves()
    if sealed:
        ckpt_core.seal(one_file(source))
    calls = run(one_file(source), tmp_path / "known.safetensors", None, moves).value
    last = writes(calls)[3]
    assert run(one_file(source), tmp_path / "a.safetensors", Fault(last, "before"), moves).killed
    (stage,) = [path for path in tmp_path.iterdir() if "ckpt-stage" in path.name]
    staged = stage / "data" / "a.safetensors"
    data = bytearray(staged.read_bytes())
    data[PART + 5] ^= 1
    staged.write_bytes(data)
    moves.taken()
    assert run(one_file(source), tmp_path / "a.safetensors", None, moves).well
    assert sum(moves.taken()) == 2
    assert contents(tmp_path)["a.safetensors"] == contents(source)["a.safetensors"]


def test_a_seal_that_came_between_two_runs_is_held_against_what_the_first_has_moved(source, tmp_path):
    moves, path = Moves(), one_file(source)
    calls = run(path, tmp_path / "known.safetensors", None, moves).value
    assert run(path, tmp_path / "a.safetensors", Fault(writes(calls)[3], "before"), moves).killed
    listed = path.stat()
    data = bytearray(path.read_bytes())
    data[10_000] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(listed.st_atime_ns, listed.st_mtime_ns))  # as a copy that keeps times does
    ckpt_core.seal(path)
    ending = run(path, tmp_path / "a.safetensors", None, moves)
    assert ending.exit_code == 4, ending
    assert "is not what was sealed" in ending.message
    assert run(path, tmp_path / "a.safetensors", None, moves).well
    assert (tmp_path / "a.safetensors").read_bytes() == path.read_bytes()


def test_another_source_begins_anew(source, tmp_path):
    moves = Moves()
    calls = run(one_file(source), tmp_path / "known.safetensors", None, moves).value
    last = writes(calls)[3]
    assert run(one_file(source), tmp_path / "a.safetensors", Fault(last, "before"), moves).killed
    moves.taken()
    assert run(source / "b.safetensors", tmp_path / "a.safetensors", None, moves).well
    assert sum(moves.taken()) == 3
    assert (tmp_path / "a.safetensors").read_bytes() == (source / "b.safetensors").read_bytes()
