"""A server that fails for a while is asked again; one that goes on failing ends with exit 5, never with damage."""

import time
from itertools import pairwise

import pytest

import ckpt_core
from ckpt_core import knobs
from ckpt_core.errors import NoAnswerError, ReplacedError, UnreachableError
from ckpt_core.schema.verification import Depth
from ckpt_core.storage.listing import list_files
from ckpt_core.storage.remote.retries import ask_again, may_pass

NAME = "m.safetensors"


def failing(fault, times):
    """A fault for so many requests, then none."""
    left = [times]

    def act(handler, data, start, end):
        if left[0] > 0:
            left[0] -= 1
            fault(handler, data, start, end)
        else:
            handler.part(data, start, end)

    return act


@pytest.fixture
def served(http, tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    save_file({"w": torch.arange(4096.0)}, tmp_path / NAME)
    with http.serve({NAME: (tmp_path / NAME).read_bytes()}) as server:
        yield server


@pytest.mark.parametrize("fault", ["reset", "cut_short", 500, 502, 503, 504, 429, 408])
@pytest.mark.parametrize("times", [1, 2])
def test_what_fails_for_a_moment_is_read_all_the_same(http, served, fault, times):
    act = getattr(http, fault) if isinstance(fault, str) else http.status(fault)
    served.faults[NAME] = failing(act, times)
    files = list_files(served.url(NAME))
    served.faults[NAME] = failing(act, times)
    assert files.read(NAME) == served.objects[NAME]
    served.faults[NAME] = failing(act, times)
    assert ckpt_core.verify(served.url(NAME), depth=Depth.BYTES).report.ok


@pytest.mark.parametrize("fault", ["reset", "cut_short", "stall", 500, 503])
def test_what_goes_on_failing_is_exit_5_in_time_and_no_finding(http, served, fault):
    place = ckpt_core.load(served.url(NAME))
    with knobs.override(remote_timeout=2):
        served.faults[NAME] = getattr(http, fault) if isinstance(fault, str) else http.status(fault)
        start = time.monotonic()
        with pytest.raises(NoAnswerError) as caught:
            place.to_torch()
        with pytest.raises(UnreachableError):
            ckpt_core.verify(served.url(NAME), depth=Depth.BYTES)
        assert caught.value.exit_code == 5
        assert time.monotonic() - start < 60


def test_a_server_that_fails_midway_through_a_verification_is_no_damage(http, served):
    seen = [0]

    def later(handler, data, start, end):
        seen[0] += 1
        (http.status(503) if seen[0] > 3 else type(handler).part)(handler, data, start, end)

    served.faults[NAME] = later
    with knobs.override(remote_timeout=20, slab_bytes=1024), pytest.raises(NoAnswerError, match="HTTP 503"):
        ckpt_core.verify(served.url(NAME), depth=Depth.VALUES)


@pytest.mark.parametrize(("code", "tries"), [(403, 1), (404, 1), (400, 1), (503, 5)])
def test_only_what_may_pass_is_asked_again(http, served, code, tries):
    served.faults[NAME] = http.status(code)
    with pytest.raises(ckpt_core.CkptError) as caught:
        list_files(served.url(NAME))
    assert len(served.requests) == tries
    assert caught.value.exit_code == (3 if code == 404 else 5)


@pytest.mark.parametrize(("after", "tries"), [("1", 2), ("3600", 1)])
def test_a_server_says_when_to_come_back_and_no_later_than_the_deadline(http, served, after, tries):
    served.faults[NAME] = failing(lambda h, d, s, e: h.answer(503, d, b"", **{"Retry-After": after}), 1)
    start = time.monotonic()
    try:
        list_files(served.url(NAME))
    except NoAnswerError:
        assert after == "3600"
    assert len(served.requests) == tries
    assert after == "3600" or time.monotonic() - start >= 1


def test_an_object_that_is_replaced_between_two_answers_is_exit_5(served):
    place = ckpt_core.load(served.url(NAME))
    served.objects[NAME] = served.objects[NAME][:-4] + b"\x00\x00\x00\x01"
    with pytest.raises(ReplacedError, match="run it again"):
        place.to_torch()


def test_an_object_of_a_store_that_is_replaced_is_noticed_by_its_version(tmp_path):
    import fsspec

    torch = pytest.importorskip("torch")
    from safetensors.torch import save

    memory = fsspec.filesystem("memory")
    memory.pipe("/moments/m.safetensors", save({"w": torch.ones(8)}))
    place = ckpt_core.load("memory://moments/m.safetensors")
    assert place.to_torch()["w"].sum() == 8
    memory.pipe("/moments/m.safetensors", save({"w": torch.zeros(8)}))
    with pytest.raises(ReplacedError, match="was replaced while it was read"):
        place.to_torch()
    memory.rm("/moments", recursive=True)


class ClientError(Exception):
    """As botocore's: the answer as a tree."""

    def __init__(self, status, code):
        super().__init__(code)
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ClientError(503, "SlowDown"), True),
        (ClientError(403, "AccessDenied"), False),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (FileNotFoundError(), False),
        (PermissionError(), False),
        (ValueError(), False),
        (type("EndpointConnectionError", (Exception,), {})(), True),
        (type("HttpError", (Exception,), {"code": 502})(), True),
        (type("HttpError", (Exception,), {"code": 404})(), False),
    ],
)
def test_what_a_client_raises_is_told_by_its_status_or_its_class(error, again):
    assert may_pass(error) is again


def test_tries_are_few_and_their_pauses_grow():
    times = []

    def ask(left):
        times.append(time.monotonic())
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        ask_again(ask, seconds=60)
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert len(times) == 5 and sum(pauses) < 3 and pauses[-1] > pauses[0]
