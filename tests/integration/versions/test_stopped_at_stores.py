"""Publishing and pruning at a store, disturbed at every request: what is named opens whole."""

import pytest

from ckpt_core.errors import CkptError
from tests.integration.versions.publishing import WORKS, check_after, copied, lay_out, saved
from tests.servers import faults

RUN = "tests.integration.versions.publishing:"
PARTS = 4
"""Tests that share the requests of a run, so that each fits its limit."""

HOW = faults.DISTURBANCES


@pytest.fixture(params=["s3", "gcs"])
def place(request):
    return request.getfixturevalue(f"faulty_{request.param}")


@pytest.fixture(params=list(WORKS))
def work(request):
    return request.param


def _requests(place, work, tmp_path):
    """Lay out a store to copy; return how many requests an undisturbed run at a copy makes."""
    store = f"{place.url}/undisturbed"
    lay_out(tmp_path, f"{place.url}/laid-out")
    copied(f"{place.url}/laid-out", store)
    place.proxy.clear()
    WORKS[work](str(saved(tmp_path, 3)), store)
    return len(place.proxy.log)


def _disturb(place, nursery, work, tmp_path, number, how):
    store, source = f"{place.url}/{number}-{HOW.index(how)}", str(saved(tmp_path, 3))
    copied(f"{place.url}/laid-out", store)
    place.proxy.clear()
    place.proxy.rule(faults.disturbance(how, nursery.child), first=number)
    if how.startswith("killed"):
        ending = nursery.run(RUN + work, source, store, env=place.env)
    else:
        ending = _here(work, source, store)
    place.proxy.clear()
    if how in ("answer lost", "500"):
        assert ending == 0, (number, how, "one such answer is nothing to fail of")
    check_after(work, tmp_path, store, well=ending == 0)


def _here(work, source, store):
    try:
        WORKS[work](source, store)
    except CkptError as error:
        assert "\n" not in error.message
        assert error.exit_code in (5, 6, 9), error
        return error.exit_code
    return 0


SAMPLE = {"publish": ("killed before", 0.9), "prune": ("killed after", 0.6)}
"""How far a run has come when it is disturbed: about when the record is put, and when objects are deleted."""


def test_a_sample_of_requests_leaves_every_named_version_whole(faulty_s3, nursery, work, tmp_path):
    count = _requests(faulty_s3, work, tmp_path)
    how, share = SAMPLE[work]
    _disturb(faulty_s3, nursery, work, tmp_path, int(count * share), how)


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("how", HOW)
def test_every_request_leaves_every_named_version_whole(place, nursery, work, tmp_path, how, part):
    for number in range(1 + part, _requests(place, work, tmp_path) + 1, PARTS):
        _disturb(place, nursery, work, tmp_path, number, how)
