"""What stays where a run is uploaded to: by a rule of its own, after it was read from there, and never the last."""

import json
import logging
import uuid

import pytest
import torch

from ckpt_core.cli.main import main
from ckpt_core.errors import LockedError, UsageError
from ckpt_core.storage.objects.open_store import open_store
from ckpt_core.training import Checkpointer, Keep, prune
from ckpt_core.training.tiers.run_store import RunStore
from tests.training.test_retention import there
from tests.training.tiers.test_uploads import Gate


@pytest.fixture
def url():
    return f"memory://{uuid.uuid4().hex}/run"


def model(value=1.0):
    made = torch.nn.Linear(2, 2)
    with torch.no_grad():
        made.weight.fill_(value)
    return made


def save_all(saver, steps):
    """Each is uploaded before the next is saved."""
    for step in steps:
        saver.save(step, metrics={"loss": abs(step - 2)})
        saver._tier.wait()


def damage(url, step):
    store, key = open_store(url)
    (found,) = (one.key for one in store.find(f"{key}/checkpoint-{step}/") if one.key.endswith("model.safetensors"))
    data = bytearray(store.read(found))
    data[-1] ^= 1
    store.put(found, bytes(data))


def test_each_place_keeps_by_its_own_rule(tmp_path, url):
    far = Keep(1, every=4, best="loss")
    with Checkpointer(tmp_path / "run", model=model(), upload_to=url, keep=1, keep_far=far) as saver:
        save_all(saver, range(1, 7))
        assert RunStore(url).steps() == [2, 4, 6]
    assert there(tmp_path / "run") == ["checkpoint-6"]
    with Checkpointer(tmp_path / "run", model=model(), upload_to=url, keep=3, keep_far=1) as saver:
        saver.resume()
        save_all(saver, [7])
    assert RunStore(url).steps() == [7] and len(there(tmp_path / "run")) == 2


def test_what_is_not_whole_there_stands_in_for_none_that_would_go(tmp_path, url, caplog):
    with Checkpointer(tmp_path / "run", model=model(), upload_to=url, keep_far=Keep(2)) as saver:
        save_all(saver, [1, 2])
        damage(url, 2)
        with caplog.at_level(logging.WARNING):
            save_all(saver, [3])
        assert "TS001" in caplog.text and "checkpoint-2" in caplog.text
        assert RunStore(url).steps() == [1, 2, 3], "the last good one was removed for a damaged one"
        save_all(saver, [4])
        assert RunStore(url).steps() == [3, 4]


def test_what_waits_and_the_rule_there_does_not_keep_is_not_uploaded(tmp_path, url, monkeypatch):
    gate = Gate(monkeypatch)
    with Checkpointer(tmp_path / "run", model=model(), upload_to=url, keep=9, keep_far=Keep(1, every=3)) as saver:
        saver.save(1)
        assert gate.begun.wait(120)
        for step in (2, 3, 4):
            saver.save(step)
        gate.open.set()
    assert gate.copied == [1, 4, 3] and RunStore(url).steps() == [3, 4] and len(there(tmp_path / "run")) == 4


def test_what_is_of_another_run_stays(tmp_path, url):
    with Checkpointer(f"{url}", model=model(7)) as saver:
        saver.save(1)
    with Checkpointer(tmp_path / "run", model=model(), upload_to=url, keep_far=1) as saver:
        save_all(saver, [2, 3])
    assert RunStore(url).steps() == [1, 3]


def test_nothing_goes_while_another_one_holds_the_place(tmp_path, url, caplog):
    with Checkpointer(tmp_path / "run", model=model(), upload_to=url, keep_far=1) as saver:
        save_all(saver, [1])
        other = RunStore(url)
        other.open()
        with caplog.at_level(logging.WARNING):
            save_all(saver, [2])
        assert "nothing was removed" in caplog.text and RunStore(url).steps() == [1, 2]
        with pytest.raises(LockedError):
            prune(url, Keep(), apply=True)
        other.close()
        save_all(saver, [3])
    assert RunStore(url).steps() == [3]


def test_a_removal_that_was_stopped_takes_no_newer_checkpoint_of_the_step(tmp_path, url):
    with Checkpointer(tmp_path / "run", model=model(), upload_to=url) as saver:
        save_all(saver, [1, 2])
    store, key = open_store(url)
    store.put(f"{key}/.checkpoint-1.ckpt-removed", b"of another seal")
    store.put(
        f"{key}/.checkpoint-2.ckpt-removed", store.head(f"{key}/checkpoint-2/ckpt.manifest.json").version.encode()
    )
    RunStore(url).open()
    assert RunStore(url).steps() == [1] and not list(store.find(f"{key}/.checkpoint"))


def test_rules_that_a_place_cannot_follow_are_refused_before_step_1(tmp_path, url):
    with pytest.raises(UsageError, match="keep_far=: nothing can be put aside at memory://"):
        Checkpointer(tmp_path / "run", model=model(), upload_to=url, keep_far=Keep(recoverable=True))
    with pytest.raises(UsageError, match="keep_far=: needs upload_to="):
        Checkpointer(tmp_path / "run", model=model(), keep_far=1)
    with pytest.raises(UsageError, match="keep=: nothing can be put aside"):
        Checkpointer(url, model=model(), keep=Keep(recoverable=True))


def test_a_second_disk_puts_aside_and_makes_thin_as_a_folder_does(tmp_path):
    far = Keep(1, recoverable=True, thin_every=2)
    objects = {"model": (trained := model()), "optimizer": torch.optim.SGD(trained.parameters(), 0.1, momentum=0.9)}
    with Checkpointer(tmp_path / "fast", **objects, upload_to=str(tmp_path / "slow"), keep=1, keep_far=far) as saver:
        save_all(saver, [1, 2, 3])
    assert there(tmp_path / "slow") == ["checkpoint-2", "checkpoint-3"]
    assert (tmp_path / "slow" / ".checkpoint-1.ckpt-deleted").is_dir()


def test_a_run_in_a_store_is_pruned_by_the_command(url, capsys):
    with Checkpointer(url, model=model()) as saver:
        for step in (1, 2, 3):
            saver.save(step, metrics={"loss": step})
    assert main(["prune", url, "--keep-best", "loss"]) == 1 and RunStore(url).steps() == [1, 2, 3]
    assert "checkpoint-2" in capsys.readouterr().out
    assert main(["prune", url, "--keep-best", "loss", "--apply"]) == 0 and RunStore(url).steps() == [1, 3]
    assert main(["prune", url, "--recoverable"]) == 2
    assert "nothing can be put aside" in capsys.readouterr().err


def test_a_run_on_a_real_s3_server_is_kept_small_by_its_uploads_and_by_the_command(s3, tmp_path, capsys):
    run = f"{s3.url}/run"
    with Checkpointer(tmp_path / "run", model=model(), upload_to=run, keep=1, keep_far=Keep(2)) as saver:
        save_all(saver, range(1, 5))
    assert RunStore(run).steps() == [3, 4]
    assert main(["prune", run, "--json"]) == 1
    said = json.loads(capsys.readouterr().out)["result"]
    assert list(said["removed"]) == ["checkpoint-3"] and said["bytes"] > 0
    assert main(["prune", run, "--apply"]) == 0
    assert RunStore(run).steps() == [4]
    store, key = open_store(run)
    assert {one.key.removeprefix(f"{key}/").partition("/")[0] for one in store.find(f"{key}/")} == {"checkpoint-4"}
