"""A run in a store: saved, resumed, pruned and locked as in a folder, and never half there."""

import uuid

import pytest
import torch

from ckpt_core.errors import CkptError, IncompleteError, LockedError, OverwriteError, UnsupportedFormatError
from ckpt_core.storage.objects.open_store import open_store
from ckpt_core.training import Checkpointer, Keep, state_dict
from tests.training.small_training import checkpointer, differing, training


@pytest.fixture
def url():
    return f"memory://{uuid.uuid4().hex}/run"


def names(url):
    store, key = open_store(url)
    found = {one.key.removeprefix(f"{key}/").partition("/")[0] for one in store.find(f"{key}/")}
    return sorted(name for name in found if name != ".run.ckpt-lease")


def test_a_training_in_a_store_goes_on_as_if_it_had_not_stopped(url):
    plain = training("torch").run(5)
    first = training("torch")
    with checkpointer(url, first, save_every=1, keep=Keep(last=1, every=2)) as saver:
        first.run(3, saver)
    second = training("torch", seed=99)
    with checkpointer(url, second, save_every=1, keep=Keep(last=1, every=2)) as saver:
        second.step = saver.resume("required").step
        assert second.step == 3
        second.run(5, saver)
    assert first.losses + second.losses == plain.losses
    assert differing(second.state(), plain.state()) == []
    assert names(url) == ["checkpoint-2", "checkpoint-4", "checkpoint-5"]
    assert state_dict(f"{url}/checkpoint-5", "progress")["parent"] == "checkpoint-4"


def model(value):
    made = torch.nn.Linear(2, 2)
    with torch.no_grad():
        made.weight.fill_(value)
    return made


def test_two_runs_are_kept_apart_and_a_strange_one_is_refused(url):
    with Checkpointer(url, model=model(1)) as one:
        one.save(1)
        with pytest.raises(LockedError), Checkpointer(url, model=model(2)) as other:
            other.save(2)
    with Checkpointer(url, model=model(3)) as other, pytest.raises(OverwriteError, match=r"call resume\(\) before"):
        other.save(2)


def test_what_was_broken_is_passed_over_and_a_removal_that_was_stopped_is_ended(url):
    with Checkpointer(url, model=model(1)) as saver:
        for step in (1, 2, 3):
            saver.save(step)
    store, key = open_store(url)
    data = bytearray(store.read(f"{key}/checkpoint-3/model.safetensors"))
    data[-1] ^= 1
    store.put(f"{key}/checkpoint-3/model.safetensors", bytes(data))
    store.put(f"{key}/.checkpoint-1.ckpt-removed", b"")
    store.delete([f"{key}/checkpoint-1/ckpt.manifest.json"])
    with Checkpointer(url, model=model(5)) as saver:
        resumed = saver.resume()
        assert resumed.step == 2 and "model.safetensors" in resumed.rejected["checkpoint-3"]
        assert names(url) == ["checkpoint-2", "checkpoint-3"]
        saver.save(3)
    with Checkpointer(url, model=model(5)) as saver:
        assert saver.resume("required").step == 3
        for one in list(store.find(f"{key}/checkpoint-")):
            if one.key.endswith("/model.safetensors"):
                store.delete([one.key])
    with Checkpointer(url, model=model(5)) as saver, pytest.raises(IncompleteError, match="none of 2 checkpoints"):
        saver.resume()


@pytest.mark.parametrize("url", ["hf://someone/model", "https://example.org/run", "ftp://a/b"])
def test_where_nothing_can_be_written_it_is_said_before_step_1(url):
    with pytest.raises(CkptError) as caught:
        Checkpointer(url, model=model(1))
    assert isinstance(caught.value, UnsupportedFormatError) or "scheme" in caught.value.message


def test_a_run_on_a_real_s3_server_is_resumed_from_its_newest_save(s3):
    run = f"{s3.url}/run"
    made = training()
    with checkpointer(run, made, save_every=1, keep=1, background=True) as saver:
        made.run(2, saver)
    other = training(seed=5)
    with checkpointer(run, other) as saver:
        other.step = saver.resume("required").step
    assert differing(other.state(), made.state()) == []
