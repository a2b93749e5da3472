"""What every store of objects keeps to, each of them asked the same."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ckpt_core.errors import CheckpointNotFoundError, ConditionFailedError, OverwriteError, ReplacedError
from ckpt_core.storage.objects.store import ABSENT, Condition

MIB = 1 << 20
ODD_NAMES = ["a b", "ä/é", "per%20cent", "plus+and&amp", "q?x#y", "..dots", "tab~'\"", "深/模型.bin"]


def uploaded(store, key, contents):
    upload = store.begin_upload(key)
    return upload, [store.put_part(key, upload, n, data) for n, data in enumerate(contents, 1)]


def test_a_put_object_is_found_described_and_read(store, prefix):
    put = store.put(f"{prefix}/a", b"content")
    assert (put.key, put.size) == (f"{prefix}/a", 7)
    head = store.head(f"{prefix}/a")
    assert (head.size, head.version) == (7, put.version)
    assert abs(head.modified - put.modified) < 5
    assert abs(head.modified - store.now()) < 5
    assert store.read(f"{prefix}/a") == b"content"
    assert store.read(f"{prefix}/a", version=put.version) == b"content"


def test_an_empty_object_is_one(store, prefix):
    assert store.put(f"{prefix}/empty", b"").size == 0
    assert store.read(f"{prefix}/empty") == b""


def test_memory_of_the_caller_is_put_as_it_is(store, prefix):
    block = bytearray(os.urandom(3 * MIB))
    store.put(f"{prefix}/a", memoryview(block)[MIB : 2 * MIB])
    assert store.read(f"{prefix}/a") == block[MIB : 2 * MIB]


def test_a_missing_object_is_none_to_head_and_an_error_to_read(store, prefix):
    assert store.head(f"{prefix}/none") is None
    with pytest.raises(CheckpointNotFoundError, match="nothing there"):
        store.read(f"{prefix}/none")
    with pytest.raises(CheckpointNotFoundError):
        store.copy(f"{prefix}/none", f"{prefix}/b")


def test_a_version_that_was_replaced_is_neither_read_nor_copied(store, prefix):
    old = store.put(f"{prefix}/a", b"old")
    new = store.put(f"{prefix}/a", b"new")
    assert old.version != new.version
    with pytest.raises(ReplacedError):
        store.read(f"{prefix}/a", version=old.version)
    with pytest.raises(ReplacedError):
        store.copy(f"{prefix}/a", f"{prefix}/b", version=old.version)
    assert store.head(f"{prefix}/b") is None


def test_a_put_where_nothing_may_be_leaves_what_is_there(store, prefix):
    store.put(f"{prefix}/a", b"first", ABSENT)
    with pytest.raises(ConditionFailedError, match="another writer") as failed:
        store.put(f"{prefix}/a", b"other", ABSENT)
    assert isinstance(failed.value, OverwriteError)
    assert store.read(f"{prefix}/a") == b"first"


def test_a_put_of_what_is_there_already_is_our_own_whose_answer_was_lost(store, prefix):
    first = store.put(f"{prefix}/a", b"mine", ABSENT)
    assert store.put(f"{prefix}/a", b"mine", ABSENT).version == first.version
    second = store.put(f"{prefix}/a", b"next", Condition(version=first.version))
    assert store.put(f"{prefix}/a", b"next", Condition(version=first.version)).version == second.version


def test_a_put_in_place_of_a_version_needs_that_version(store, prefix):
    first = store.put(f"{prefix}/a", b"1")
    second = store.put(f"{prefix}/a", b"2", Condition(version=first.version))
    with pytest.raises(ConditionFailedError):
        store.put(f"{prefix}/a", b"3", Condition(version=first.version))
    store.delete([f"{prefix}/a"])
    with pytest.raises(ConditionFailedError):
        store.put(f"{prefix}/a", b"3", Condition(version=second.version))


def test_objects_are_found_by_how_their_keys_begin(store, prefix):
    keys = {f"{prefix}/{name}" for name in ["a/1", "a/2", "a-b", "ab", *ODD_NAMES]}
    for key in keys:
        store.put(key, key.encode())
    assert {found.key for found in store.find(f"{prefix}/")} == keys
    assert {found.key for found in store.find(f"{prefix}/a/")} == {f"{prefix}/a/1", f"{prefix}/a/2"}
    assert [found.size for found in store.find(f"{prefix}/ab")] == [len(prefix) + 3]
    assert list(store.find(f"{prefix}/none")) == []


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_that_a_url_would_escape_are_kept(store, prefix, name):
    key = f"{prefix}/{name}"
    put = store.put(key, b"x", ABSENT)
    assert store.head(key).version == put.version
    upload, parts = uploaded(store, f"{key}.big", [b"part"])
    assert store.parts(f"{key}.big", upload) == parts
    store.complete(f"{key}.big", upload, parts)
    store.copy(f"{key}.big", f"{key}.copy")
    assert store.read(f"{key}.copy") == b"part"


def test_deleting_what_is_not_there_is_well(store, prefix):
    store.put(f"{prefix}/a", b"x")
    store.delete([f"{prefix}/a", f"{prefix}/none"])
    store.delete([])
    assert store.head(f"{prefix}/a") is None


def test_a_version_is_deleted_only_while_it_is_there(store, prefix):
    old = store.put(f"{prefix}/a", b"old")
    new = store.put(f"{prefix}/a", b"new")
    assert not store.delete_version(f"{prefix}/a", old.version)
    assert store.read(f"{prefix}/a") == b"new"
    assert store.delete_version(f"{prefix}/a", new.version)
    assert store.head(f"{prefix}/a") is None
    assert not store.delete_version(f"{prefix}/a", new.version)


def test_parts_become_an_object_at_once_and_whole(store, prefix):
    key, contents = f"{prefix}/big", [os.urandom(5 * MIB), os.urandom(5 * MIB), b"end"]
    upload, parts = uploaded(store, key, contents)
    assert store.head(key) is None
    assert store.parts(key, upload) == parts
    made = store.complete(key, upload, parts)
    assert (made.size, store.head(key).version) == (10 * MIB + 3, made.version)
    assert store.read(key) == b"".join(contents)
    assert store.parts(key, upload) == []
    assert list(store.uploads(prefix)) == []


def test_parts_may_come_in_any_order_at_once_and_again(store, prefix):
    key, contents = f"{prefix}/big", [os.urandom(5 * MIB) for _ in range(4)]
    upload = store.begin_upload(key)
    store.put_part(key, upload, 3, b"not yet this")
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(store.put_part, key, upload, n + 1, contents[n]) for n in (3, 1, 0, 2)]
        parts = sorted(future.result() for future in futures)
    assert [part for part in store.parts(key, upload) if part.number != 3] == [*parts[:2], parts[3]]
    store.complete(key, upload, parts)
    assert store.read(key) == b"".join(contents)


def test_a_completion_repeated_is_the_one_whose_answer_was_lost(store, prefix):
    upload, parts = uploaded(store, f"{prefix}/big", [b"part"])
    first = store.complete(f"{prefix}/big", upload, parts)
    assert store.complete(f"{prefix}/big", upload, parts).version == first.version


def test_an_upload_that_is_given_up_leaves_nothing(store, prefix):
    upload, _ = uploaded(store, f"{prefix}/big", [b"part"])
    assert [(one.key, one.id) for one in store.uploads(prefix)] == [(f"{prefix}/big", upload)]
    store.abort(f"{prefix}/big", upload)
    store.abort(f"{prefix}/big", upload)
    assert (list(store.uploads(prefix)), store.parts(f"{prefix}/big", upload)) == ([], [])
    assert store.head(f"{prefix}/big") is None


def test_uploads_are_listed_whoever_began_them_and_by_how_their_keys_begin(store, prefix, another):
    begun = {(f"{prefix}/{name}", another().begin_upload(f"{prefix}/{name}")) for name in ("a", "b", "b/c")}
    assert {(one.key, one.id) for one in store.uploads(f"{prefix}/")} == begun
    assert {one.key for one in store.uploads(f"{prefix}/b/")} == {f"{prefix}/b/c"}
    for key, upload in begun:
        store.abort(key, upload)


def test_a_copy_has_the_same_content_and_replaces_what_was_there(store, prefix):
    store.put(f"{prefix}/b", b"before")
    source = store.put(f"{prefix}/a", b"content")
    made = store.copy(f"{prefix}/a", f"{prefix}/b", version=source.version)
    assert (made.key, made.size, store.head(f"{prefix}/b").version) == (f"{prefix}/b", 7, made.version)
    assert store.read(f"{prefix}/b") == b"content"


def test_parts_of_any_object_fit_the_limits_of_stores(store):
    for size in (0, 1, 5 * MIB, 80_000 * MIB, 80_001 * MIB, 5 << 40):
        part = store.part_bytes(size)
        assert part % MIB == 0
        assert part >= 5 * MIB
        assert size <= part * 10_000 or type(store).__name__ == "MemoryStore"


def test_one_of_sixty_four_writers_gets_a_name(store, prefix):
    ready = threading.Barrier(64)

    def write(number):
        ready.wait()
        try:
            store.put(f"{prefix}/seal", b"writer %d" % number, ABSENT)
        except ConditionFailedError:
            return None
        return number

    with ThreadPoolExecutor(64) as pool:
        winners = [number for number in pool.map(write, range(64)) if number is not None]
    assert len(winners) == 1
    assert store.read(f"{prefix}/seal") == b"writer %d" % winners[0]


def test_one_of_sixteen_writers_replaces_a_version(store, prefix):
    first = store.put(f"{prefix}/seal", b"first")

    def write(number):
        try:
            store.put(f"{prefix}/seal", b"writer %d" % number, Condition(version=first.version))
        except ConditionFailedError:
            return None
        return number

    with ThreadPoolExecutor(16) as pool:
        winners = [number for number in pool.map(write, range(16)) if number is not None]
    assert len(winners) == 1
    assert store.read(f"{prefix}/seal") == b"writer %d" % winners[0]
