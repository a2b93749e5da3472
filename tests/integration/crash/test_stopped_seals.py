"""A seal stopped at each call that changes a file: nothing false in between, and the next one leaves nothing behind."""

import os
import shutil
import threading

import pytest

import ckpt_core
from ckpt_core import knobs
from ckpt_core.errors import CkptError, LockedError, OverwriteError
from ckpt_core.schema.verification import Depth
from ckpt_core.storage.listing import list_files
from ckpt_core.storage.sealing import read_seal, sealing
from ckpt_core.verbs.save import save
from ckpt_core.verbs.seal import seal
from tests.integration.crash.os_calls import Stopper, faults_of, in_child, intercept
from tests.integration.crash.scenarios import contents, weights

_SAMPLE = 7
_KINDS = {"file": "m.safetensors", "directory": "d", "torch": "m.pth"}
_HOW = {
    "anew": {},
    "with sums": {"sha256": True},
    "forced": {"force": True},
    "forced with sums": {"force": True, "sha256": True},
}


def lay_out(folder, name, how):
    """A checkpoint; unsealed, or where a seal is to be replaced, with that of other content of the same files."""
    folder.mkdir(parents=True)
    place = folder / name
    options = {"format": "hf", "options": {"max_shard_size": "2KB"}} if name == "d" else {}
    save(weights(1), str(place), **options)
    old = dict(contents(folder))
    shutil.copytree(folder, folder.parent / "sealed")
    shutil.rmtree(folder)
    folder.mkdir()
    save(weights(2), str(place), **options)
    for path in [*folder.rglob("*.ckpt.json"), *folder.rglob("ckpt.manifest.json"), *folder.rglob("ckpt.blocks")]:
        kept = folder.parent / "sealed" / path.relative_to(folder)
        path.unlink()
        if "force" in how:
            shutil.copy(kept, path)
    shutil.rmtree(folder.parent / "sealed")
    assert old != contents(folder)
    return place


def stopped(place, how, fault):
    def work():
        stopper = Stopper(fault)
        intercept(stopper)
        with knobs.override(workers=1):
            seal(str(place), **how)
        return stopper.names

    return in_child(work)


def codes(place):
    """What verify at its deepest and inspect say above information, as codes."""
    try:
        ckpt_core.inspect(str(place))
        report = ckpt_core.verify(str(place), depth=Depth.BYTES).report
    except CkptError as error:
        return {error.code}
    return {finding.code for finding in report.findings if finding.severity > ckpt_core.Severity.INFO}


def names(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("how", _HOW)
@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("every", [_SAMPLE, pytest.param(1, marks=pytest.mark.long)], ids=["some", "all"])
def test_a_seal_stopped_anywhere_is_made_right_by_the_next(kind, how, every, tmp_path):
    more = _HOW[how]
    before = lay_out(tmp_path / "before", _KINDS[kind], more)
    then = codes(before)
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(before.parent, undisturbed)
    calls = stopped(undisturbed / before.name, more, None).value
    assert codes(undisturbed / before.name) == set()
    for fault in faults_of(calls)[::every]:
        shutil.copytree(before.parent, tmp_path / "struck")
        place = tmp_path / "struck" / before.name
        ending = stopped(place, more, fault)
        try:
            assert ending.well or ending.killed or ending.exit_code in (5, 8), ending
            news = {"SL004"} if more.get("sha256") else set()  # sums that an old seal does not know of, and says so
            assert codes(place) in (then, set(), then | news)
            try:
                seal(str(place), **more)
            except OverwriteError as error:
                assert "is sealed already" in error.message
            assert names(place.parent) == names(undisturbed)
            assert codes(place) == set()
            assert read_seal(list_files(str(place))) == read_seal(list_files(str(undisturbed / before.name)))
        except BaseException as error:
            error.add_note(f"{fault.how} at call {fault.number} of {len(calls)} ({calls[fault.number - 1]})")
            raise
        shutil.rmtree(tmp_path / "struck")


@pytest.mark.parametrize("kind", _KINDS)
def test_of_two_seals_at_once_the_second_is_told_and_sweeps_nothing(kind, tmp_path):
    place = lay_out(tmp_path / "x", _KINDS[kind], {})
    own = (place if kind == "directory" else place.parent) / {
        "directory": ".ckpt.blocks.ckpt-new-7",
    }.get(kind, f".{place.name}.ckpt.json.ckpt-new-7")
    with sealing(list_files(str(place))):
        own.write_bytes(b"under way")
        with pytest.raises(LockedError, match="another process"):
            seal(str(place))
        assert own.exists()
    seal(str(place))
    assert not own.exists()


def test_a_seal_leaves_what_is_another_file_s(tmp_path):
    place = lay_out(tmp_path / "x", "m.safetensors", {})
    for name in (".n.safetensors.ckpt.json.ckpt-new-7", ".m.safetensors.ckpt.json.ckpt-new-mine", "ckpt.blocks"):
        (tmp_path / "x" / name).write_bytes(b"")
    before = names(tmp_path / "x")
    seal(str(place))
    assert names(tmp_path / "x") == before | {"m.safetensors.ckpt.json"}


@pytest.mark.parametrize("kind", _KINDS)
def test_a_reader_beside_a_seal_that_is_made_again_says_nothing_false(kind, tmp_path):
    place = lay_out(tmp_path / "x", _KINDS[kind], {})
    seal(str(place))
    over = threading.Event()

    def again():
        while not over.is_set():
            seal(str(place), force=True)

    writer = threading.Thread(target=again)
    writer.start()
    try:
        found = [codes(place) for _ in range(60)]
    finally:
        over.set()
        writer.join()
    assert [said for said in found if said not in (set(), {"MO001"})] == []
    assert os.listdir(tmp_path / "x")
