"""A server that fails, breaks off, lies or is silent: what was put is right and told once, or an error says so."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest

from ckpt_core import knobs
from ckpt_core.errors import CkptError, ConditionFailedError, NoAnswerError
from ckpt_core.storage.objects.open_store import open_store
from ckpt_core.storage.objects.store import ABSENT, Condition
from tests.servers import faults

MIB = 1 << 20

PASSING = {
    "reset": faults.reset,
    "lost answer": faults.lost_answer,
    "cut while it was sent": faults.cut_sent(1000),
    "503": faults.status(503, "SlowDown"),
    "500 although it was done": faults.status(500, "InternalError", done=True),
    "429": faults.status(429),
    "delayed": faults.delay(0.3),
    "flipped on its way": faults.flip_sent(700),
}
"""Faults of one request after which the same request is answered as it should be."""


STOPPING = {
    "reset": faults.reset,
    "silent": faults.silent,
    "503": faults.status(503, "SlowDown"),
    "403": faults.status(403, "AccessDenied"),
    "page": faults.page,
    "cut while it was sent": faults.cut_sent(100),
    "flipped on its way": faults.flip_sent(700),
}
"""Faults that every request meets."""


def sampled(*axes, usual):
    """Every combination with each server; those that are not usual are long."""
    every = product(("s3", "gcs"), *axes)
    return [pytest.param(*case, marks=[] if case in usual else pytest.mark.long) for case in every]


@pytest.fixture
def faulty(request):
    return request.getfixturevalue(f"faulty_{request.param}")


@pytest.fixture
def reached(faulty):
    """The store through the proxy, and how its keys begin there."""
    with knobs.override(remote_timeout=20):
        yield open_store(faulty.url)


def content(faulty, key):
    return faulty.behind.filesystem.cat_file(f"{faulty.url.partition('://')[2].partition('/')[0]}/{key}")


def rule_for_data(faulty, fault, **named):
    """Let the fault have the requests that carry an object or a part."""
    faulty.proxy.rule(fault, method="PUT" if faulty.url.startswith("s3") else "POST", **named)


@pytest.mark.parametrize(
    ("faulty", "fault"),
    sampled(PASSING, usual=[("s3", "flipped on its way"), ("s3", "lost answer"), ("gcs", "lost answer")]),
    indirect=["faulty"],
)
def test_an_object_is_put_once_and_whole_whatever_passes(faulty, reached, fault):
    store, prefix = reached
    data = os.urandom(100_000)
    rule_for_data(faulty, PASSING[fault])
    put = store.put(f"{prefix}/a", data, ABSENT)
    assert content(faulty, f"{prefix}/a") == data
    assert store.head(f"{prefix}/a").version == put.version
    with pytest.raises(ConditionFailedError):
        store.put(f"{prefix}/a", data + b"other", ABSENT)


@pytest.mark.parametrize(
    ("faulty", "fault"), sampled(PASSING, usual=[("s3", "lost answer"), ("gcs", "reset")]), indirect=["faulty"]
)
def test_an_object_is_replaced_once_whatever_passes(faulty, reached, fault):
    if faulty.url.startswith("gs") and fault == "flipped on its way":
        pytest.skip("the server keeps bytes of another checksum, so that the former version is gone")
    store, prefix = reached
    first = store.put(f"{prefix}/a", b"first" * 500)
    rule_for_data(faulty, PASSING[fault])
    second = store.put(f"{prefix}/a", b"second" * 500, Condition(version=first.version))
    assert content(faulty, f"{prefix}/a") == b"second" * 500
    assert store.head(f"{prefix}/a").version == second.version


@pytest.mark.parametrize(
    ("faulty", "step", "fault"),
    sampled(
        ("begin", "part", "complete"),
        PASSING,
        usual=[
            ("s3", "begin", "503"),
            ("s3", "part", "flipped on its way"),
            ("s3", "complete", "lost answer"),
            ("gcs", "part", "cut while it was sent"),
            ("gcs", "complete", "lost answer"),
        ],
    ),
    indirect=["faulty"],
)
def test_an_upload_becomes_its_object_whatever_passes(faulty, reached, step, fault):
    store, prefix = reached
    key, contents = f"{prefix}/big", [os.urandom(5 * MIB), b"the end"]

    def rule(at):
        if at == step:
            faulty.proxy.rule(PASSING[fault], method="PUT|POST")

    rule("begin")
    upload = store.begin_upload(key)
    rule("part")
    parts = [store.put_part(key, upload, number, data) for number, data in enumerate(contents, 1)]
    rule("complete")
    made = store.complete(key, upload, parts)
    assert content(faulty, key) == b"".join(contents)
    assert (made.size, store.head(key).version) == (5 * MIB + 7, made.version)


@pytest.mark.parametrize(
    ("faulty", "step", "fault"),
    sampled(
        ("put", "part", "complete"),
        STOPPING,
        usual=[("s3", "put", "403"), ("s3", "part", "page"), ("s3", "complete", "silent"), ("gcs", "put", "silent")],
    ),
    indirect=["faulty"],
)
def test_what_does_not_pass_is_an_error_in_time_and_nothing_is_visible(faulty, reached, step, fault):
    if (step, fault) == ("complete", "flipped on its way"):
        pytest.skip("no request that completes an upload is so long")
    store, prefix = reached
    key = f"{prefix}/a"
    upload = store.begin_upload(key)
    parts = [store.put_part(key, upload, 1, b"x" * 5000)] if step == "complete" else []
    faulty.proxy.rule(STOPPING[fault], method="PUT|POST", last=None)
    began = time.monotonic()
    with knobs.override(remote_timeout=2), pytest.raises(CkptError) as failed:
        if step == "put":
            store.put(key, b"y" * 5000)
        elif step == "part":
            store.put_part(key, upload, 1, b"y" * 5000)
        else:
            store.complete(key, upload, parts)
    assert time.monotonic() - began < 60
    assert isinstance(failed.value, NoAnswerError) or step == "complete"
    assert "testsecret" not in str(failed.value)
    faulty.proxy.clear()
    assert store.head(key) is None
    store.abort(key, upload)
    assert list(store.uploads(prefix)) == []


@pytest.mark.parametrize("faulty", ["s3", "gcs"], indirect=True)
def test_a_removal_that_is_refused_is_an_error_though_it_had_no_condition(faulty, reached):
    store, prefix = reached
    store.put(f"{prefix}/a", b"x")
    faulty.proxy.rule(faults.status(412, "conditionNotMet"), method="DELETE|POST")
    with pytest.raises(NoAnswerError):
        store.delete([f"{prefix}/a"])
    store.delete([f"{prefix}/a"])
    assert store.head(f"{prefix}/a") is None


def test_one_of_sixty_four_writers_gets_a_name_although_every_first_answer_is_lost(faulty_s3):
    with knobs.override(remote_timeout=60):
        store, prefix = open_store(faulty_s3.url)
        faulty_s3.proxy.rule(faults.lost_answer, method="PUT", last=64)
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
    assert len(faulty_s3.proxy.asked("PUT")) >= 128
    assert [content(faulty_s3, f"{prefix}/seal")] == [b"writer %d" % number for number in winners]
