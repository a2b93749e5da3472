"""Publishing and pruning on a disk, stopped at every call that changes a file: what is named opens whole."""

import shutil

import pytest

from tests.integration.crash.os_calls import Stopper, faults_of, in_child, intercept
from tests.integration.versions.publishing import WORKS, check_after, lay_out, saved

SAMPLES = 5


@pytest.fixture(scope="module", params=list(WORKS))
def laid_out(request, tmp_path_factory):
    """A way of working, a store that it is done at, and the calls that it makes."""
    folder = tmp_path_factory.mktemp(request.param)
    lay_out(folder, str(folder / "versions"))
    saved(folder, 3)
    shutil.copytree(folder / "versions", folder / "undisturbed")
    ending = in_child(lambda: _run(request.param, folder, folder / "undisturbed", None))
    assert ending.well, ending
    return request.param, folder, ending.value


def _run(work, folder, store, fault):
    stopper = Stopper(fault)
    intercept(stopper)
    WORKS[work](str(folder / "3.safetensors"), str(store))
    return stopper.names


def _disturb(laid_out, tmp_path, faults):
    work, folder, _ = laid_out
    for fault in faults:
        store = tmp_path / f"{fault.number}-{fault.how}"
        shutil.copytree(folder / "versions", store)
        ending = in_child(lambda store=store, fault=fault: _run(work, folder, store, fault))
        assert ending.killed or ending.well or ending.exit_code in (5, 8), (fault, ending)
        check_after(work, folder, str(store), well=ending.well)
        shutil.rmtree(store)


def test_a_sample_of_stops_leaves_every_named_version_whole(laid_out, tmp_path):
    faults = faults_of(laid_out[2])
    _disturb(laid_out, tmp_path, faults[3 :: len(faults) // SAMPLES])


@pytest.mark.long
@pytest.mark.parametrize("part", range(4))
def test_every_stop_leaves_every_named_version_whole(laid_out, tmp_path, part):
    _disturb(laid_out, tmp_path, faults_of(laid_out[2])[part::4])
