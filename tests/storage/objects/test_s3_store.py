"""What a bucket of S3 needs beyond the laws: pages, copies in parts, stores that prove bytes in other ways."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from ckpt_core.errors import ReplacedError
from ckpt_core.storage.objects import s3_store
from ckpt_core.storage.objects.open_store import open_store
from ckpt_core.storage.objects.s3_store import newest_parts
from ckpt_core.storage.objects.store import ABSENT
from tests.servers import faults

MIB = 1 << 20


@pytest.fixture
def small_copies(monkeypatch):
    """Copies in parts of what is longer than 6 MiB."""
    monkeypatch.setattr(s3_store, "_COPIED_WHOLE", 6 * MIB)
    monkeypatch.setattr(s3_store, "_COPIED_PART", 5 * MIB)


@pytest.mark.parametrize("size", [6 * MIB, 6 * MIB + 1, 10 * MIB, 13 * MIB + 7])
def test_an_object_of_any_size_is_copied_by_the_store(s3, small_copies, size):
    store, prefix = open_store(s3.url)
    data = os.urandom(size)
    source = store.put(f"{prefix}/a", data)
    made = store.copy(f"{prefix}/a", f"{prefix}/b", version=source.version)
    assert (made.size, store.head(f"{prefix}/b").version) == (size, made.version)
    assert store.read(f"{prefix}/b") == data
    assert list(store.uploads(prefix)) == []


def test_a_copy_in_parts_of_what_is_replaced_meanwhile_is_none(faulty_s3, small_copies):
    store, prefix = open_store(faulty_s3.url)
    store.put(f"{prefix}/a", b"x" * 12 * MIB)
    replace = faults.before(lambda: faulty_s3.behind.put("a", b"y" * 12 * MIB))
    faulty_s3.proxy.rule(replace, method="PUT", path="partNumber=2")
    with pytest.raises(ReplacedError):
        store.copy(f"{prefix}/a", f"{prefix}/b")
    assert store.head(f"{prefix}/b") is None
    assert list(store.uploads(prefix)) == []


def test_bytes_are_sent_once_straight_from_memory(faulty_s3):
    store, prefix = open_store(faulty_s3.url)
    store.put(f"{prefix}/a", b"x" * MIB, ABSENT)
    (asked,) = faulty_s3.proxy.asked("PUT")
    assert asked.sent == MIB
    assert "X-Amz-Signature" in asked.path and "x-amz-checksum-crc32" in asked.headers
    assert asked.headers["if-none-match"] == "*"


def test_a_client_that_would_send_more_than_a_signed_url_says_is_asked_itself(faulty_s3):
    store, prefix = open_store(faulty_s3.url)
    store._bucket.files.s3_additional_kwargs = {"StorageClass": "STANDARD"}
    store.put(f"{prefix}/a", b"x" * 1000, ABSENT)
    (asked,) = faulty_s3.proxy.asked("PUT")
    assert "X-Amz-Signature" not in asked.path
    assert "x-amz-checksum-crc32" in asked.headers
    assert store.read(f"{prefix}/a") == b"x" * 1000


def test_credentials_that_a_store_does_not_take_are_tried_by_the_client_too_and_told(faulty_s3):
    store, prefix = open_store(faulty_s3.url)
    faulty_s3.proxy.rule(faults.status(403, "ExpiredToken"), method="PUT")
    put = store.put(f"{prefix}/a", b"x")  # by the client, which may have fresh ones
    assert store.head(f"{prefix}/a").version == put.version
    assert "X-Amz-Signature" not in faulty_s3.proxy.asked("PUT")[-1].path


def hidden_proof(exchange):
    """An answer of a store that compares no checksum, and whose ETag is no MD5."""
    answer = exchange.ask()
    answer.headers = [
        (name, f'"{"0" * 31}-1"' if name.lower() == "etag" else value)
        for name, value in answer.headers
        if "checksum" not in name.lower()
    ]
    exchange.give(answer)


def test_a_store_that_proves_nothing_is_asked_to_compare_an_md5(faulty_s3):
    store, prefix = open_store(faulty_s3.url)
    faulty_s3.proxy.rule(hidden_proof, method="PUT")
    store.put(f"{prefix}/a", b"x" * 1000, ABSENT)
    first, second = faulty_s3.proxy.asked("PUT")
    assert "content-md5" not in first.headers and "content-md5" in second.headers
    assert store.read(f"{prefix}/a") == b"x" * 1000


def listed(number, etag, second):
    return {"PartNumber": number, "Size": 5, "ETag": etag, "LastModified": second}


def test_of_a_part_that_was_put_twice_the_newer_counts_and_none_where_that_is_not_told():
    twice = [listed(1, "a", 1), listed(1, "b", 2), listed(2, "c", 1), listed(2, "d", 1), listed(3, "e", 1)]
    assert [(part.number, part.tag) for part in newest_parts([*twice, twice[-1]])] == [(1, '"b"'), (3, '"e"')]


@pytest.mark.long
def test_more_than_a_page_of_objects_parts_and_uploads_is_listed_whole(moto):
    store, _ = open_store("s3://ckpt/many")
    keys = [f"many/{number:05}" for number in range(1_203)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, b"x"), keys))
    assert [one.key for one in store.find("many/")] == keys
    upload = store.begin_upload("many/big")
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda n: store.put_part("many/big", upload, n, b"%d" % n), range(1, 1_106)))
    assert store.parts("many/big", upload) == parts
    begun = {store.begin_upload(f"many/upload-{number}") for number in range(1_100)} | {upload}
    assert {one.id for one in store.uploads("many/")} == begun
    store.delete(keys)
    assert list(store.find("many/")) == []
