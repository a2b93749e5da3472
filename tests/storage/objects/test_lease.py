"""A lease is held by one writer, goes on while it runs, and is taken over from one that is gone or silent."""

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import pytest

from ckpt_core.errors import LockedError, NoAnswerError, OverwriteError, UnsupportedFormatError
from ckpt_core.storage.objects.lease import held, is_free
from ckpt_core.storage.objects.lease_record import Holder, new_record, parse_record, this_process
from ckpt_core.storage.objects.memory_store import MemoryStore
from ckpt_core.storage.objects.store import ALWAYS, Condition

ELSEWHERE = Holder("node7", "another boot", "pid:[1]", 4242, "1")


@pytest.fixture
def key(prefix):
    return f"{prefix}/.ckpt-unfinished.json"


def read(store, key):
    return parse_record(store.read(key), key)


def put_lease(store, key, **changes):
    record = replace(new_record(store.now(), 60, "work", ("a", "b/")), **changes)
    return store.put(key, record.encoded())


def test_a_lease_is_there_for_its_block_and_no_longer(store, key):
    with held(store, key, place="out", work="w", keys=["out/a"]) as lease:
        lease.check()
        record = read(store, key)
        assert (record.id, record.work, record.keys, record.ended) == (lease.id, "w", ("out/a",), False)
        assert record.holder == this_process()
        assert lease.former is None
    assert store.head(key) is None


@pytest.mark.parametrize("answers", [True, False])
def test_a_lease_that_cannot_be_removed_says_that_it_has_ended(answers, monkeypatch):
    """Else the next save of the same process, which is alive, would wait for it to run out."""

    def delete_version(self, key, version):
        if not answers:
            raise NoAnswerError("the store failed")
        return False

    monkeypatch.setattr(MemoryStore, "delete_version", delete_version)
    store, key = MemoryStore(), f"{uuid.uuid4().hex}/.ckpt-unfinished.json"
    with held(store, key, place="out"):
        pass
    assert read(store, key).ended
    with held(store, key, place="out"):
        pass
    store.delete([key])


def test_a_second_writer_of_this_machine_is_told_which_process_is_the_first(store, key):
    with held(store, key, place="out"):
        with (
            pytest.raises(LockedError, match=f"process {os.getpid()} is writing there") as refused,
            held(store, key, place="out"),
        ):
            pass
        assert refused.value.exit_code == 5
        assert store.head(key) is not None


def test_a_writer_elsewhere_is_told_by_its_machine_and_when_it_may_be_taken_over(store, key):
    there = put_lease(store, key, holder=ELSEWHERE)
    words = r"process 4242 of node7 .* last heard of \d s ago; .* in (60|5\d) s"
    with pytest.raises(LockedError, match=words), held(store, key, place="out"):
        pass
    assert store.head(key).version == there.version


def test_a_silent_writer_is_taken_over_by_the_clock_of_the_store(store, key):
    put_lease(store, key, holder=ELSEWHERE, seconds=1)
    while store.now() - store.head(key).modified <= 1:
        time.sleep(0.2)
    with held(store, key, place="out") as lease:
        assert (lease.former.holder, lease.former.work, lease.former.keys) == (ELSEWHERE, "work", ("a", "b/"))
        assert read(store, key).id == lease.id


def test_a_process_of_this_machine_that_is_gone_is_taken_over_at_once(store, key):
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    put_lease(store, key, holder=replace(this_process(), pid=done.pid))
    with held(store, key, place="out") as lease:
        assert lease.former.holder.pid == done.pid


def test_a_number_that_another_process_has_by_now_counts_as_gone():
    assert replace(this_process(), start="1").is_gone
    assert not this_process().is_gone


@pytest.mark.parametrize("other", [{"boot": "x"}, {"namespace": "pid:[1]"}, {"boot": "", "namespace": ""}])
def test_a_process_of_another_machine_or_container_is_never_found_gone(other):
    assert not replace(this_process(), pid=2**22 + 1, **other).is_gone


def test_a_writer_that_fails_leaves_nothing_unless_there_is_work_to_go_on_from(store, key):
    for leaves in (False, True):
        with pytest.raises(KeyError), held(store, key, place="out", work="w") as lease:
            lease.leaves = leaves
            raise KeyError
        assert (store.head(key) is not None) == leaves
    assert read(store, key).ended
    with held(store, key, place="out") as lease:
        assert (lease.former.work, lease.former.ended, lease.leaves) == ("w", True, True)
    assert store.head(key) is None


def test_what_was_begun_is_noted_in_the_lease(store, key):
    with held(store, key, place="out") as lease:
        lease.note_uploads([("out/a", "id1")])
        lease.note_keys(["out/a"])
        assert (read(store, key).uploads, read(store, key).keys) == ((("out/a", "id1"),), ("out/a",))


def test_a_lease_is_renewed_while_its_block_runs(store, key):
    with held(store, key, place="out", seconds=3) as lease:
        first, end = read(store, key), time.monotonic() + 60
        while read(store, key).renewals < first.renewals + 2 and time.monotonic() < end:
            time.sleep(0.1)
        lease.check()
        assert read(store, key).renewals >= first.renewals + 2
        assert not is_free(store, store.head(key), read(store, key))


def test_a_writer_that_was_taken_over_learns_so_and_touches_nothing(store, key):
    with pytest.raises(LockedError, match="the lease was lost"), held(store, key, place="out", seconds=1) as lease:
        lease.leaves = True
        other = put_lease(store, key, holder=ELSEWHERE)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            lease.check()
            time.sleep(0.05)
    assert store.head(key).version == other.version


def test_what_a_writer_notes_after_it_was_taken_over_is_refused(store, key):
    with pytest.raises(LockedError), held(store, key, place="out") as lease:
        put_lease(store, key, holder=ELSEWHERE)
        lease.note_uploads([("out/a", "id")])


def test_a_lease_that_ends_leaves_that_of_another_writer(store, key):
    with held(store, key, place="out"):
        other = put_lease(store, key, holder=ELSEWHERE)
    assert store.head(key).version == other.version


def test_a_renewal_whose_answer_was_lost_is_known_by_its_id(store, key):
    with held(store, key, place="out") as lease:
        record = replace(read(store, key), renewals=17)
        store.put(key, record.encoded())
        lease.note_uploads([("out/a", "id")])
        lease.check()
        assert read(store, key).uploads == (("out/a", "id"),)
    assert store.head(key) is None


def test_one_of_sixteen_writers_takes_a_lease_over(store, key):
    put_lease(store, key, ended=True)
    ready, held_by, over = threading.Barrier(16), [], threading.Event()

    def write(number):
        ready.wait()
        try:
            with held(store, key, place="out"):
                held_by.append(number)
                over.wait(120)
        except LockedError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        futures = [pool.submit(write, number) for number in range(16)]
        while sum(future.done() for future in futures) < 15:
            time.sleep(0.02)
        over.set()
    assert len(held_by) == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"null", b'{"schema": "ckpt/lease@2"}', b"\xff\xfe", b'{"schema": "ckpt/lease@1"}'],
)
def test_what_is_no_lease_is_left_alone_and_named(store, key, content):
    there = store.put(key, content)
    with pytest.raises(OverwriteError, match="none that this version of ckpt reads"), held(store, key, place="out"):
        pass
    assert store.head(key).version == there.version


@pytest.mark.parametrize(
    "change",
    [{"keys": [1]}, {"keys": "ab"[:0] or None}, {"uploads": [["a"]]}, {"seconds": "x"}, {"holder": {}}, {"work": 3}],
)
def test_fields_of_other_types_make_no_lease(change):
    tree = {"schema": "ckpt/lease@1", **asdict(new_record(0.0, 60, "w", ())), **change}
    with pytest.raises(OverwriteError):
        parse_record(json.dumps(tree).encode(), "key")


def test_a_lease_of_a_later_version_may_have_more_fields():
    record = new_record(1.5, 60, "w", ("a",))
    tree = json.loads(record.encoded()) | {"more": 1}
    assert parse_record(json.dumps(tree).encode(), "key") == record


def test_a_put_by_version_never_replaces_the_lease_of_another(store, key):
    first = put_lease(store, key, ended=True)
    second = put_lease(store, key, holder=ELSEWHERE)
    with pytest.raises(OverwriteError):
        store.put(key, b"mine", Condition(version=first.version))
    assert store.head(key).version == second.version


class CarelessStore(MemoryStore):
    """A store that ignores conditions, as some that speak S3's protocol do: of an object that is there, or any."""

    url = "memory://careless"

    def __init__(self, ignores):
        super().__init__()
        self.ignores = ignores

    def put(self, key, data, condition=ALWAYS):
        return super().put(key, data, ALWAYS if getattr(condition, self.ignores) else condition)


@pytest.mark.parametrize("ignores", ["absent", "version"])
def test_a_store_that_ignores_conditions_is_refused_and_left_as_it_was(ignores):
    store = CarelessStore(ignores)
    for _ in range(2):
        lease = held(store, "careless/out/.ckpt-lease.json", place="s3://bucket/out")
        with pytest.raises(UnsupportedFormatError, match="ignores the conditions") as refused, lease:
            raise AssertionError("the block is not run")
        assert refused.value.exit_code == 6
        assert list(store.find("careless/")) == []


def test_a_store_is_tried_once():
    put = []

    class Counting(MemoryStore):
        url = f"memory://{uuid.uuid4().hex}"

        def put(self, key, data, condition=ALWAYS):
            put.append(data)
            return super().put(key, data, condition)

    for _ in range(2):
        with held(Counting(), "counted/.ckpt-lease.json", place="out"):
            pass
    assert len(put) == 1 + 3 + 1
