"""Two publishers, a reader and a pruning at one store at once: nothing named is freed, nothing published is lost."""

import threading
from collections.abc import Callable

import numpy as np
import pytest

import ckpt_core
from ckpt_core.errors import CkptError
from ckpt_core.storage.versions import publishers
from ckpt_core.storage.versions.opening import open_version_store
from ckpt_core.training import Keep
from tests.integration.versions.publishing import saved, whole

EACH = 4


class Together:
    """Threads whose first failure is the test's."""

    def __init__(self) -> None:
        self.failed: list[BaseException] = []
        self.done = threading.Event()

    def thread(self, work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                self.failed.append(error)

        return threading.Thread(target=run)


@pytest.fixture(params=["disk", "s3"])
def store(request, tmp_path):
    if request.param == "disk":
        return str(tmp_path / "versions")
    return f"{request.getfixturevalue('s3').url}/versions"


def test_nothing_named_is_freed_and_nothing_published_is_lost(store, tmp_path, monkeypatch):
    monkeypatch.setattr(publishers, "_LOOK", 0.01)
    sources = [[saved(tmp_path, 10 * one + number) for number in range(EACH)] for one in range(2)]
    ckpt_core.publish(saved(tmp_path, 99), store, alias="kept")
    together, named = Together(), []

    def publish(own):
        for source in own:
            named.append(ckpt_core.publish(source, store).version)

    def read():
        while not together.done.is_set():
            for record in ckpt_core.list_versions(store).versions:
                try:
                    found = np.frombuffer(ckpt_core.load(f"{store}@{record.name}").read("model", "own"), "f4")
                    assert len(set(found)) == 1
                except CkptError:
                    assert not open_version_store(store).record(record.number).is_whole, "a named version was freed"

    def prune():
        while not together.done.is_set():
            ckpt_core.prune_versions(store, Keep(last=3), apply=True)

    writers = [together.thread(lambda own=own: publish(own)) for own in sources]
    others = [together.thread(read), together.thread(prune)]
    for thread in (*writers, *others):
        thread.start()
    for thread in writers:
        thread.join()
    together.done.set()
    for thread in others:
        thread.join()
    assert together.failed == []
    assert sorted(record.number for record in named) == list(range(1, 2 * EACH + 1))
    kept = whole(store)
    assert {"v0", f"v{2 * EACH}"} <= set(kept)
