"""What a bucket of Google Cloud Storage needs beyond the laws. Its server keeps to no condition of a composition."""

import pytest

from ckpt_core.storage.objects.open_store import open_store


@pytest.mark.parametrize("count", [1, 31, 32, 33, 70])
def test_as_many_parts_as_there_are_become_one_object_in_order_and_are_gone(gcs, count):
    store, prefix = open_store(gcs.url)
    upload = store.begin_upload(f"{prefix}/big")
    parts = [store.put_part(f"{prefix}/big", upload, n, b"<%d>" % n) for n in range(1, count + 1)]
    store.complete(f"{prefix}/big", upload, parts)
    assert store.read(f"{prefix}/big") == b"".join(b"<%d>" % n for n in range(1, count + 1))
    assert gcs.names() == ["big"]


def test_parts_are_hidden_beside_the_object_and_found_by_who_lists_uploads(gcs):
    store, prefix = open_store(gcs.url)
    upload = store.begin_upload(f"{prefix}/sub/big")
    store.put_part(f"{prefix}/sub/big", upload, 1, b"part")
    assert gcs.names() == [f"sub/.big.ckpt-upload-{upload}/{name}" for name in ("00001", "begun")]
    assert [one.key for one in store.uploads(f"{prefix}/su")] == [f"{prefix}/sub/big"]
    assert list(store.uploads(f"{prefix}/sub/x")) == []


def test_what_only_looks_like_an_upload_is_none(gcs):
    store, prefix = open_store(gcs.url)
    for name in (".big.ckpt-upload-1/begun", "big.ckpt-upload-" + "0" * 32 + "/begun", f".b.ckpt-upload-{'0' * 32}/1"):
        store.put(f"{prefix}/{name}", b"")
    assert list(store.uploads(prefix)) == []
