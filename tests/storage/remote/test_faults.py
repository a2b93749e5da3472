"""Whatever a network does to a question or its answer: the right bytes, or one clear error within the deadline."""

import time

import pytest

import ckpt_core
from ckpt_core import knobs
from ckpt_core.errors import CkptError, CorruptError, ReplacedError
from tests.servers import faults
from tests.servers.fault_proxy import fault_proxy
from tests.servers.range_server import range_server

torch = pytest.importorskip("torch")

FAULTS = {
    "reset": faults.reset,
    "silent": faults.silent,
    "lost answer": faults.lost_answer,
    "late": faults.late_answer(0.3),
    "delay": faults.delay(0.3),
    "cut at once": faults.cut(0),
    "cut": faults.cut(500),
    "stall": faults.stall(500),
    "longer": faults.wrong_length(7),
    "shorter": faults.shorter(7),
    "flip": faults.flip(700),
    "page": faults.page,
    "500": faults.status(500, "InternalError"),
    "503": faults.status(503, "SlowDown"),
    "429": faults.status(429),
    "403": faults.status(403, "AccessDenied"),
}
PASSING = {"reset", "silent", "lost answer", "late", "delay", "cut at once", "cut", "stall", "500", "503", "429"}
"""Those that a second question gets over."""

WEIGHTS = {f"w{number}": torch.randn(64, 128) for number in range(4)}
HARMLESS = {"late", "delay"}


def sealed(folder):
    from safetensors.torch import save_file

    (folder / "run").mkdir(parents=True)
    save_file(WEIGHTS, folder / "run" / "m.safetensors")
    ckpt_core.seal(str(folder / "run" / "m.safetensors"))
    return sorted((folder / "run").iterdir())


STORES = ("s3", "gs", "http")
ALL = [(store, operation, name) for name in FAULTS for operation in ("list", "get") for store in STORES]


def sampled(every, first):
    """Every case; all but one of so many are long. A prime of 5 or more meets every store and both operations."""
    return [
        case if number % every == first else pytest.param(*case, marks=pytest.mark.long)
        for number, case in enumerate(ALL)
    ]


@pytest.fixture(params=STORES)
def place(request, tmp_path):
    """A sealed file behind a proxy: its URL, the proxy, and what replaces it by another."""
    from safetensors.torch import save

    made = sealed(tmp_path / "ckpt")
    other = save({name: tensor + 1 for name, tensor in WEIGHTS.items()})
    if request.param == "http":
        with range_server(tmp_path) as server, fault_proxy(server.url) as proxy:
            yield f"{proxy.url}/ckpt/run/m.safetensors", proxy, lambda: made[0].write_bytes(other)
        return
    there = request.getfixturevalue("faulty_s3" if request.param == "s3" else "faulty_gcs")
    behind = there.behind.url.partition("://")[2]
    client = there.behind.filesystem
    for path in made:
        client.pipe_file(f"{behind}/run/{path.name}", path.read_bytes())
    there.proxy.clear()
    yield f"{there.url}/run/m.safetensors", there.proxy, lambda: client.pipe_file(f"{behind}/run/m.safetensors", other)


def outcome(act, seconds):
    """`right`, or the error; anything else, and anything late, fails the test."""
    start = time.monotonic()
    try:
        got = act()
    except CkptError as error:
        assert error.exit_code in (4, 5), error
        assert (str(error).isprintable() and error.__cause__ is None) or isinstance(error, ReplacedError)
        assert time.monotonic() - start < 4 * seconds + 60
        return error
    assert all(torch.equal(got[name], tensor) for name, tensor in WEIGHTS.items()), "other bytes than were saved"
    return "right"


def read_with(place, operation, fault, *, last, seconds):
    url, proxy, _ = place
    opened = ckpt_core.load(url)
    act = opened.to_torch if operation == "get" else lambda: ckpt_core.load(url).to_torch()
    proxy.rule(fault, method="GET" if operation == "get" else "GET|HEAD", last=last)
    with knobs.override(remote_timeout=seconds):
        return outcome(act, seconds)


@pytest.mark.parametrize(("place", "operation", "name"), sampled(11, 2), indirect=["place"])
def test_a_fault_that_passes_costs_an_answer_or_nothing(place, operation, name):
    came = read_with(place, operation, FAULTS[name], last=1, seconds=6)
    if name in PASSING:
        assert came == "right", came


@pytest.mark.parametrize(("place", "operation", "name"), sampled(13, 5), indirect=["place"])
def test_a_fault_that_stays_is_an_error_within_the_deadline(place, operation, name):
    came = read_with(place, operation, FAULTS[name], last=None, seconds=2)
    if name not in HARMLESS | {"cut", "stall", "flip", "shorter", "longer"}:
        assert came != "right"


def test_an_object_that_is_replaced_before_its_bytes_come_is_exit_5(place):
    url, proxy, replace = place
    opened = ckpt_core.load(url)
    proxy.rule(faults.before(replace), method="GET")
    with pytest.raises(ReplacedError) as caught:
        opened.to_torch()
    assert caught.value.exit_code == 5


def test_a_flipped_bit_of_the_weights_is_found_by_the_seal(place):
    url, proxy, _ = place
    opened = ckpt_core.load(url)
    proxy.rule(faults.flip(900), method="GET", path=r"m\.safetensors(\?|$)", last=None)
    with pytest.raises(CorruptError, match=r"SL002|differ|not what"):
        opened.to_torch()
