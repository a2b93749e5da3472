"""What writers left in a store is listed with age and bytes, and removed only where nobody is at work."""

import json
import os
import time
from dataclasses import replace

import pytest

from ckpt_core.errors import LockedError
from ckpt_core.storage.objects.lease import held
from ckpt_core.storage.objects.lease_record import Holder, new_record, this_process
from ckpt_core.storage.objects.leftovers import leftovers

ELSEWHERE = Holder("node7", "another boot", "pid:[1]", 4242, "1")
GONE = replace(this_process(), pid=2**22 + 1)


@pytest.fixture(params=["memory", "seaweedfs", "gcs", "mount"])
def kind(request):
    return request.param


@pytest.fixture
def out(prefix):
    return f"{prefix}/out"


def put_lease(store, key, **changes):
    record = replace(new_record(store.now(), 60, "work", ()), **{"holder": GONE, **changes})
    store.put(key, record.encoded())
    return record


def put_journal(store, folder, files, uploads=None):
    store.put(f"{folder}.ckpt-journal/00000.json", json.dumps({"schema": "ckpt/journal@1", "files": files}).encode())
    if uploads:
        told = {path: [id, 8 << 20] for path, id in uploads.items()}
        store.put(f"{folder}.ckpt-journal/00001.json", json.dumps({"uploads": told}).encode())


def seal(store, folder, **more):
    store.put(f"{folder}/ckpt.manifest.json", json.dumps({"schema": "ckpt/seal@1", **more}).encode())


def names(store, key):
    return sorted(one.key.removeprefix(f"{key}/") for one in store.find(f"{key}/"))


def only(store, key):
    (found,) = leftovers(store, key)
    return found


def put_unfinished(store, out, **changes):
    """A new directory whose writer was killed: an object, half an upload, a journal, its lease."""
    upload = store.begin_upload(f"{out}/b")
    store.put_part(f"{out}/b", upload, 1, b"12345")
    store.put(f"{out}/a", b"1234567")
    put_journal(store, f"{out}/", ["a", "b", "ckpt.blocks"], {"b": upload})
    keys = (f"{out}/a", f"{out}/b", f"{out}/.ckpt-journal/", f"{out}/ckpt.manifest.json")
    return put_lease(store, f"{out}/.ckpt-unfinished.json", keys=keys, uploads=((f"{out}/b", upload),), **changes)


def test_a_directory_whose_writer_was_killed_is_listed_and_removed(store, out):
    put_unfinished(store, out)
    store.put(f"{out}/notes.txt", b"somebody else's")
    found = only(store, out)
    assert (found.place, found.kind, found.held) == (f"{store.url}/{out}", "unfinished write", "")
    assert (found.count, found.uploads) == (3, 1)
    journal = sum(one.size for one in store.find(f"{out}/.ckpt-journal/"))
    assert found.size == 7 + 5 + journal
    assert 0 <= found.age < 30
    found.remove()
    assert names(store, out) == ["notes.txt"]
    assert list(store.uploads(out)) == []
    assert list(leftovers(store, out)) == []


def test_what_a_writer_is_at_work_at_is_listed_with_its_name_and_not_removed(store, out):
    put_unfinished(store, out)
    put_lease(store, f"{out}/.ckpt-unfinished.json", holder=ELSEWHERE)
    before = names(store, out)
    found = only(store, out)
    assert found.held == "process 4242 of node7"
    with pytest.raises(LockedError):
        found.remove()
    assert names(store, out) == before
    assert len(list(store.uploads(out))) == 1


def test_a_writer_elsewhere_that_was_silent_for_its_seconds_left_it(store, out):
    record = replace(new_record(store.now(), 1, "w", (f"{out}/a",)), holder=ELSEWHERE)
    store.put(f"{out}/a", b"x")
    there = store.put(f"{out}/.ckpt-unfinished.json", record.encoded())
    while store.now() - store.head(there.key).modified <= 1:
        time.sleep(0.1)
    only(store, out).remove()
    assert names(store, out) == []


def test_uploads_and_objects_that_nothing_of_ours_names_are_never_touched(store, out):
    upload = store.begin_upload(f"{out}/theirs")
    store.put(f"{out}/data", b"x")
    assert list(leftovers(store, out)) == []
    put_unfinished(store, out)
    only(store, out).remove()
    assert [one.id for one in store.uploads(out)] == [upload]
    store.abort(f"{out}/theirs", upload)
    assert names(store, out) == ["data"]


def test_an_object_that_came_long_after_its_writer_was_gone_is_somebody_elses(store, out, monkeypatch):
    put_unfinished(store, out, started=store.now() - 10_000)
    monkeypatch.setattr("ckpt_core.storage.objects.leftovers._SLACK", -10_000.0)  # as if the lease were that old
    only(store, out).remove()
    assert names(store, out) == ["a"]


def test_what_a_seal_vouches_for_stays_although_its_writer_could_not_tidy_up(store, out):
    put_unfinished(store, out)
    seal(store, out)
    found = only(store, out)
    assert found.count == 2  # the journal
    found.remove()
    assert names(store, out) == ["a", "ckpt.manifest.json"]


def test_a_checkpoint_that_is_sealed_after_the_plan_was_shown_is_not_removed(store, out):
    put_unfinished(store, out)
    found = only(store, out)
    seal(store, out)
    found.remove()
    assert names(store, out) == ["a", "ckpt.manifest.json"]


def test_a_writer_that_ended_after_the_plan_was_shown_is_noticed(store, out):
    put_unfinished(store, out)
    found = only(store, out)
    store.delete([f"{out}/.ckpt-unfinished.json"])
    with pytest.raises(LockedError, match="look again"):
        found.remove()
    assert "a" in names(store, out)


def test_another_run_that_took_over_after_the_plan_was_shown_is_noticed(store, out):
    put_unfinished(store, out)
    found = only(store, out)
    put_lease(store, f"{out}/.ckpt-unfinished.json")
    with pytest.raises(LockedError, match="look again"):
        found.remove()
    assert "a" in names(store, out)


def test_a_generation_that_was_never_sealed_goes_and_the_one_that_holds_stays(store, out):
    old, new = ".ckpt-generation-old", ".ckpt-generation-new"
    for generation in (old, new):
        store.put(f"{out}/{generation}/a", b"x")
        store.put(f"{out}/{generation}/ckpt.blocks", b"")
    put_journal(store, f"{out}/{new}/", ["a", "ckpt.blocks"])
    seal(store, out, generation=old)
    put_lease(store, f"{out}/.ckpt-lease.json", keys=(f"{out}/{new}/",))
    only(store, out).remove()
    assert names(store, out) == [f"{old}/a", f"{old}/ckpt.blocks", "ckpt.manifest.json"]


def test_a_former_generation_that_could_not_be_deleted_is_left_over(store, out):
    for generation in ("old", "new"):
        store.put(f"{out}/.ckpt-generation-{generation}/a", b"x")
    seal(store, out, generation=".ckpt-generation-new")
    found = only(store, out)
    assert (found.kind, found.count, found.size) == ("not tidied up", 1, 1)
    found.remove()
    assert names(store, out) == [".ckpt-generation-new/a", "ckpt.manifest.json"]


def test_a_stage_of_a_file_goes_and_the_file_stays(store, out):
    stage = f"{out}/.m.pt.ckpt-stage-abc/"
    upload = store.begin_upload(f"{stage}m.pt")
    store.put_part(f"{stage}m.pt", upload, 1, b"part")
    put_journal(store, stage, ["m.pt"], {"m.pt": upload})
    store.put(f"{out}/m.pt", b"the file")
    store.put(f"{out}/m.pt.ckpt.json", b"{}")
    put_lease(store, f"{out}/.m.pt.ckpt-lease.json", keys=(stage,))
    assert [one.place for one in leftovers(store, f"{out}/m.pt")] == [f"{store.url}/{out}/m.pt"]
    found = only(store, out)
    assert (found.place, found.uploads) == (f"{store.url}/{out}/m.pt", 1)
    found.remove()
    assert names(store, out) == ["m.pt", "m.pt.ckpt.json"]
    assert list(store.uploads(out)) == []


def test_a_checkpoint_without_a_seal_and_without_a_lease_keeps_all_but_its_journal(store, out):
    store.put(f"{out}/a", b"x")
    put_journal(store, f"{out}/", ["a"])
    only(store, out).remove()
    assert names(store, out) == ["a"]


@pytest.mark.parametrize("folder", ["{out}/", "{out}/data/", "", "elsewhere/", "{out}/x.ckpt-stage-1/"])
def test_a_lease_cannot_name_a_folder_that_is_not_one_of_ours(store, out, folder):
    store.put(f"{out}/data/a", b"x")
    store.put(f"{out}/x.ckpt-stage-1/a", b"x")
    put_lease(store, f"{out}/.ckpt-unfinished.json", keys=(folder.format(out=out),))
    only(store, out).remove()
    assert names(store, out) == ["data/a", "x.ckpt-stage-1/a"]


def test_a_lease_that_cannot_be_read_counts_as_held(store, out):
    put_unfinished(store, out)
    store.put(f"{out}/.ckpt-unfinished.json", b'{"schema": "ckpt/lease@9"}')
    found = only(store, out)
    assert "does not read" in found.held


def test_several_places_below_a_prefix_are_each_their_own(store, out):
    put_unfinished(store, f"{out}/one")
    put_unfinished(store, f"{out}/two")
    with held(store, f"{out}/three/.ckpt-lease.json", place="three"):
        found = {one.place.rpartition("/")[2]: one.held for one in leftovers(store, out)}
    assert found == {"one": "", "two": "", "three": f"process {os.getpid()} of {this_process().host}"}
    for one in leftovers(store, out):
        one.remove()
    assert names(store, out) == []
