"""Which places are written to, and what is said of those that are not, or that refuse."""

import pytest

from ckpt_core import knobs
from ckpt_core.errors import BudgetError, CheckpointNotFoundError, CkptError, NoAnswerError, UsageError
from ckpt_core.storage.objects.lease import held
from ckpt_core.storage.objects.open_store import open_store
from tests.servers import faults


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("hf://org/repo", 6, "hf upload"),
        ("https://u:secret@host/m.pt?token=secret", 6, "https:// is read only; write to a disk, s3:// or gs://"),
        ("http://host/m.pt", 6, "read only"),
        ("wandb://entity/project/name:latest", 6, "publish the folder from there by ckpt_wandb.upload"),
        ("s3://", 2, "names no bucket; give one, as in s3://BUCKET/NAME"),
        ("gs:///name", 2, "names no bucket; give one, as in gs://BUCKET/NAME"),
        ("s3://bucket/name?versionId=3", 2, "names one version of an object"),
        ("ftp://host/x", 7, "not one of"),
        ("simplecache::s3://bucket/x", 7, "chained"),
    ],
)
def test_a_place_that_is_not_written_to_is_told_with_the_next_step(url, code, words):
    with pytest.raises(CkptError) as refused:
        open_store(url)
    assert refused.value.exit_code == code
    assert words in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_url_gives_its_bucket_and_key(s3):
    store, key = open_store("s3://ckpt/a/b c/")
    assert (store.url, key) == ("s3://ckpt", "a/b c")
    assert open_store("s3://ckpt")[1] == ""


@pytest.mark.parametrize("place", ["s3", "gcs"])
def test_a_bucket_that_is_not_there_is_told_from_an_object_that_is_not(place, request):
    scheme = request.getfixturevalue(place).url.partition("://")[0]
    store, key = open_store(f"{scheme}://nobody-has-this/out")
    attempts = [
        lambda: store.put(key, b"x"),
        lambda: store.head(key),
        lambda: list(store.find(key)),
        lambda: store.begin_upload(key),
        lambda: held(store, f"{key}/.ckpt-lease.json", place="out").__enter__(),
    ]
    for attempt in attempts:
        with pytest.raises(CheckpointNotFoundError, match="there is no such bucket"):
            attempt()


SAID = {
    "AccessDenied": (403, NoAnswerError, "may not write there; ask its owner for the right to put, list and delete"),
    "KeyTooLongError": (400, UsageError, "longer than the 1,024 bytes"),
    "QuotaExceeded": (403, BudgetError, "no room"),
    "XMinioStorageFull": (507, BudgetError, "no room"),
    "ExpiredToken": (400, NoAnswerError, "have expired"),
    "SignatureDoesNotMatch": (403, NoAnswerError, "secret key does not fit"),
    "PermanentRedirect": (301, NoAnswerError, "another region"),
}


@pytest.mark.parametrize("code", SAID)
@pytest.mark.parametrize("step", ["put", "part"])
def test_a_refusal_is_told_by_what_it_means(faulty_s3, code, step):
    status, error, words = SAID[code]
    store, prefix = open_store(faulty_s3.url)
    upload = store.begin_upload(f"{prefix}/a")
    faulty_s3.proxy.rule(faults.status(status, code), method="PUT", last=None)
    with knobs.override(remote_timeout=5), pytest.raises(error, match=words):
        if step == "put":
            store.put(f"{prefix}/a", b"x")
        else:
            store.put_part(f"{prefix}/a", upload, 1, b"x")


def locked(exchange):
    body = b"<Error><Code>AccessDenied</Code><Message>object protected by Object Lock</Message></Error>"
    exchange.reply(403, body, Content_Type="application/xml")


def test_an_object_under_a_retention_lock_is_told_from_missing_rights(faulty_s3):
    store, prefix = open_store(faulty_s3.url)
    faulty_s3.proxy.rule(locked, method="PUT|POST", last=None)
    with pytest.raises(NoAnswerError, match="kept by a retention lock"):
        store.put(f"{prefix}/a", b"x")
    with pytest.raises(NoAnswerError, match="kept by a retention lock"):
        store.delete([f"{prefix}/a"])


def test_a_bucket_that_keeps_versions_is_written_to_like_any_other(moto):
    moto.filesystem.call_s3("put_bucket_versioning", Bucket="ckpt", VersioningConfiguration={"Status": "Enabled"})
    store, _ = open_store("s3://ckpt/out")
    first = store.put("out/a", b"1")
    second = store.put("out/a", b"2")
    assert store.head("out/a").version == second.version != first.version
    with held(store, "out/.ckpt-lease.json", place="out") as lease:
        lease.check()
    assert store.head("out/.ckpt-lease.json") is None
    store.delete(["out/a"])
    assert store.head("out/a") is None
