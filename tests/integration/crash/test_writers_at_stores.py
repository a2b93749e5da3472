"""Several writers of one name in a store, and readers beside them: one winner, and never a mix of two contents."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import ckpt_core
from ckpt_core import knobs
from ckpt_core.errors import CkptError, LockedError, OverwriteError, PluginError, UnreachableError
from ckpt_core.storage.objects.open_store import open_store
from tests.servers import faults

WRITERS = 64


def weights(value):
    return {"w": np.full(300, value, "f4"), "v": np.full(20, value, "i8")}


def value_at(url):
    """The one value that everything has; None where it is no checkpoint, or was replaced while it was read."""
    try:
        found = ckpt_core.load(url)
        values = {*np.frombuffer(found.read("model", "w"), "f4"), *np.frombuffer(found.read("model", "v"), "i8")}
        found.finish()
        found.check_unchanged()
    except UnreachableError:
        return None
    (value,) = values
    return float(value)


def saved(url, value, format, force=False):
    try:
        ckpt_core.save(weights(value), url, format=format, force=force)
    except CkptError as error:
        return error
    return value


DIRECTORY, FILE = ("d", "hf", "unfinished"), ("m.pth", "torch", "ckpt-lease")


@pytest.mark.parametrize(
    ("name", "format", "mark", "lost"),
    [
        (*DIRECTORY, True),
        pytest.param(*DIRECTORY, False, marks=pytest.mark.long),
        pytest.param(*FILE, True, marks=pytest.mark.long),
        (*FILE, False),
    ],
)
def test_of_many_writers_of_one_name_one_wins(faulty_s3, name, format, mark, lost):
    """The winner's too where the first answers to its lease and its seal are lost."""
    if lost:
        faulty_s3.proxy.rule(faults.lost_answer, method="PUT", path=mark)  # which is the winner's
        faulty_s3.proxy.rule(faults.lost_answer, method="PUT", path=r"manifest\.json|pth\.ckpt\.json")
    url = f"{faulty_s3.url}/{name}"
    with ThreadPoolExecutor(WRITERS) as pool:
        ended = list(pool.map(lambda value: saved(url, value, format), range(WRITERS)))
    winners = [one for one in ended if isinstance(one, int)]
    assert len(winners) == 1, [str(one) for one in ended if not isinstance(one, LockedError)]
    assert all(isinstance(one, LockedError | OverwriteError) for one in ended if one not in winners)
    assert value_at(url) == winners[0]
    assert ckpt_core.verify(url, depth=ckpt_core.Depth.BYTES).report.ok
    store, root = open_store(faulty_s3.url)
    assert not [one.key for one in store.find(f"{root}/") if ".ckpt-" in one.key] and not list(store.uploads(root))


@pytest.mark.parametrize(("name", "format"), [("d", "hf"), pytest.param("m.pth", "torch", marks=pytest.mark.long)])
def test_readers_beside_two_writers_see_one_content_or_the_other(s3, name, format):
    url, ended = f"{s3.url}/{name}", threading.Event()
    saved(url, 0, format)

    def write(first):
        return [saved(url, value, format, force=True) for value in range(first, first + 6)]

    def read():
        seen = []
        while not ended.is_set():
            seen.append(value_at(url))
        return seen

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read)]
        writers = [pool.submit(write, 10), pool.submit(write, 20)]
        results = [one for writer in writers for one in writer.result()]
        ended.set()
        seen = [value for reader in readers for value in reader.result()]
    wrote = {0, *(one for one in results if isinstance(one, int))}
    assert all(isinstance(one, int | LockedError | OverwriteError) for one in results), results
    assert {value for value in seen if value is not None} <= wrote
    assert value_at(url) in wrote and len(wrote) > 1


def test_a_writer_that_was_paused_beyond_its_lease_finds_out_and_spoils_nothing(s3):
    url = f"{s3.url}/d"

    class Paused:
        """Sleeps, and its renewals with it, while another takes over."""

        slept = False

        def begin(self, total):
            pass

        def advance(self, count):
            if self.slept:
                return
            self.slept = True
            for thread in threading.enumerate():
                if thread.name == "ckpt-lease":
                    thread._target.__self__._end.set()
            time.sleep(2.5)
            assert saved(url, 2, "hf") == 2

    with knobs.override(lease_seconds=1), pytest.raises((LockedError, OverwriteError)):
        ckpt_core.save(weights(1), url, format="hf", progress=Paused())
    assert value_at(url) == 2
    assert ckpt_core.verify(url, depth=ckpt_core.Depth.BYTES).report.ok


class Raising:
    """A progress that fails after so many calls."""

    def __init__(self, after):
        self.left = after

    def begin(self, total):
        pass

    def advance(self, count):
        self.left -= 1
        if self.left < 0:
            raise KeyError("in the middle")


@pytest.mark.parametrize("trials", [4, pytest.param(100, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
def test_an_exception_in_the_middle_shows_nothing_and_leaves_no_upload(s3, trials):
    draw = random.Random(trials)
    store, root = open_store(s3.url)
    large = {f"t{number}": np.full(3 << 18, number, "f4") for number in range(4)}
    for number in range(trials):
        name, format = draw.choice([("d", "hf"), ("m.pth", "torch"), ("m.safetensors", "safetensors")])
        with pytest.raises((PluginError, KeyError)):
            ckpt_core.save(large, f"{s3.url}/{number}/{name}", format=format, progress=Raising(draw.randrange(4)))
        assert not list(store.find(f"{root}/")) and not list(store.uploads(f"{root}/"))
