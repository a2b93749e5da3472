"""Repairs in a store of objects: done, taken back, stopped at any request, and never over what somebody else wrote."""

import json
import subprocess
import sys
import uuid

import fsspec
import numpy as np
import pytest
import safetensors.numpy

import ckpt_core
from ckpt_core import CheckpointNotFoundError, OverwriteError
from tests.servers import faults

WEIGHTS = {f"{name}.weight": np.full((40, 8), number, np.float32) for number, name in enumerate("abc", 1)}
INDEX = "model.safetensors.index.json"


@pytest.fixture(params=["memory", "s3", pytest.param("gcs", marks=pytest.mark.long)])
def store(request):
    """A folder of this test's own."""
    return Memory() if request.param == "memory" else request.getfixturevalue(request.param)


class Memory:
    """The same as a fixture of a server, in this process's memory."""

    def __init__(self):
        self.url = f"memory://{uuid.uuid4().hex}"

    @property
    def filesystem(self):
        return fsspec.filesystem("memory")


def put_broken(store, name="run", *, sealed_by=None):
    """A model directory of three shards, sealed where a folder is given to do that in, whose index is gone."""
    files = {"config.json": b'{"model_type": "llama"}'}
    for number, (tensor, value) in enumerate(WEIGHTS.items(), 1):
        files[f"model-0000{number}-of-00003.safetensors"] = safetensors.numpy.save({tensor: value})
    if sealed_by is not None:
        weight_map = {tensor: f"model-0000{number}-of-00003.safetensors" for number, tensor in enumerate(WEIGHTS, 1)}
        (sealed_by / "made").mkdir()
        for path, data in {**files, INDEX: json.dumps({"weight_map": weight_map}).encode()}.items():
            (sealed_by / "made" / path).write_bytes(data)
        ckpt_core.seal(str(sealed_by / "made"))
        files = {path.name: path.read_bytes() for path in (sealed_by / "made").iterdir() if path.name != INDEX}
    client = store.filesystem
    for path, data in files.items():
        client.pipe_file(f"{store.url}/{name}/{path}", data)
    return f"{store.url}/{name}"


def everything(store):
    """Every object of the folder, by its name."""
    client = store.filesystem
    client.invalidate_cache()
    cut = len(client._strip_protocol(store.url)) + 1
    return {path[cut:]: bytes(data) for path, data in client.cat(client.find(store.url)).items()}


def content(store):
    """What another tool sees of it: all but what ckpt has put beside it for a while."""
    return {name: data for name, data in everything(store).items() if "/.ckpt-" not in f"/{name}"}


def left_behind(store):
    return [name for name in everything(store) if "/.ckpt-" in f"/{name}"]


def test_a_repair_is_done_verified_and_taken_back(store):
    url = put_broken(store)
    before = content(store)
    assert [found.code for found in ckpt_core.verify(url).report.findings] == ["HF013"]
    done = ckpt_core.repair(url, in_place=True)
    assert done.backup == f"{url}/.ckpt-backup-1"
    assert not ckpt_core.verify(url, depth="bytes").report.findings
    assert content(store).keys() == before.keys() | {f"run/{INDEX}"}
    assert ckpt_core.undo_repair(url) == [INDEX]
    assert content(store) == before
    assert not left_behind(store)
    with pytest.raises(CheckpointNotFoundError, match="nothing to undo"):
        ckpt_core.undo_repair(url)


def test_a_seal_is_brought_up_to_what_was_mended_and_comes_back(store, tmp_path):
    url = put_broken(store, sealed_by=tmp_path)
    before = content(store)
    ckpt_core.repair(url, in_place=True)
    assert ckpt_core.verify(url, depth="bytes").report.ok
    assert content(store)["run/ckpt.manifest.json"] != before["run/ckpt.manifest.json"]
    ckpt_core.undo_repair(url)
    assert content(store) == before


def test_what_was_changed_after_the_repair_is_not_lost_by_undoing_it(store):
    url = put_broken(store)
    ckpt_core.repair(url, in_place=True)
    store.filesystem.pipe_file(f"{url}/{INDEX}", b'{"weight_map": {}, "mine": 1}')
    with pytest.raises(OverwriteError, match="changed after the repair"):
        ckpt_core.undo_repair(url)
    assert content(store)[f"run/{INDEX}"] == b'{"weight_map": {}, "mine": 1}'


def test_notes_of_a_repair_that_lead_away_are_not_followed(store):
    url = put_broken(store)
    before = content(store)
    step = {"do": "remove", "path": "../other", "source": "", "made": "", "size": 0, "had": False}
    notes = json.dumps({"schema": "ckpt/backup@1", "steps": [step]}).encode()
    store.filesystem.pipe_file(f"{url}/.ckpt-backup-1/steps.json", notes)
    with pytest.raises(ckpt_core.CorruptError, match="not the notes of a repair"):
        ckpt_core.undo_repair(url)
    assert content(store) == before


def test_a_repaired_copy_is_written_to_a_store_and_from_one(store, tmp_path):
    url = put_broken(store)
    before = content(store)
    made = ckpt_core.repair(url, output=f"{store.url}/mended")
    assert made.written == f"{store.url}/mended"
    assert not ckpt_core.verify(made.written, depth="bytes").report.findings
    after = content(store)
    assert {name: data for name, data in after.items() if name.startswith("run/")} == before
    assert after.keys() - before.keys() >= {f"mended/{INDEX}", "mended/ckpt.manifest.json"}
    assert not left_behind(store)
    with pytest.raises(OverwriteError, match="exists"):
        ckpt_core.repair(url, output=made.written)
    ckpt_core.repair(url, output=str(tmp_path / "local"))
    assert (tmp_path / "local" / INDEX).read_bytes() == after[f"mended/{INDEX}"]


def test_damage_is_carried_over_where_it_is_accepted_and_stays_marked(store, tmp_path):
    url = put_broken(store, sealed_by=tmp_path)
    shard = f"{url}/model-00002-of-00003.safetensors"
    damaged = bytearray(store.filesystem.cat_file(shard))
    damaged[-1] ^= 1
    store.filesystem.pipe_file(shard, bytes(damaged))
    with pytest.raises(ckpt_core.CorruptError, match="nothing was committed"):
        ckpt_core.repair(url, output=f"{store.url}/mended")
    assert not [name for name in everything(store) if name.startswith("mended")]
    made = ckpt_core.repair(url, output=f"{store.url}/mended", accept_damage=True)
    assert dict(made.tainted) == {"model/b.weight": "damaged"}
    assert "IN001" in {found.code for found in ckpt_core.verify(made.written).report.findings}
    assert b"b.weight" in content(store)["mended/ckpt.tainted.json"]


SAMPLED = (14,)


def repaired(url):
    command = [sys.executable, "-m", "ckpt_core.cli.main", "repair", url, "--apply", "--in-place"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize(
    "number", [pytest.param(n, marks=() if n in SAMPLED else pytest.mark.long) for n in range(1, 40)]
)
def test_a_repair_killed_at_any_request_is_done_or_not_or_taken_back(faulty_s3, number, tmp_path):
    url = put_broken(faulty_s3.behind, sealed_by=tmp_path)
    before = content(faulty_s3.behind)
    started = {}
    faulty_s3.proxy.rule(faults.kill(lambda: started["child"].pid, done=number % 2 == 0), first=number)
    started["child"] = child = repaired(url)
    child.wait(60)
    seen = content(faulty_s3.behind)
    if not faulty_s3.proxy.asked(".*", ".*")[number - 1 : number]:
        assert child.returncode == 0 and number > 20  # it makes no more requests
    faulty_s3.proxy.clear()
    ckpt_core.repair(url, in_place=True)
    assert ckpt_core.verify(url, depth="bytes").report.ok
    after = content(faulty_s3.behind)
    ckpt_core.undo_repair(url)
    assert content(faulty_s3.behind) == before
    assert states(before, after, seen)
    assert not left_behind(faulty_s3.behind)


CHANGES = "PUT|POST|DELETE"


def states(before, after, seen):
    """Whether each object is the old one or the new one."""
    return all(seen.get(name) in (before.get(name), after.get(name)) for name in before.keys() | after.keys())


@pytest.mark.parametrize(
    "first", [1, 3, pytest.param(5, marks=pytest.mark.long), pytest.param(7, marks=pytest.mark.long)]
)
def test_a_repair_whose_answers_are_lost_is_done(faulty_s3, tmp_path, first):
    url = put_broken(faulty_s3.behind, sealed_by=tmp_path)
    before = content(faulty_s3.behind)
    faulty_s3.proxy.rule(faults.lost_answer, method=CHANGES, first=first, last=first + 1)
    ckpt_core.repair(url, in_place=True)
    assert ckpt_core.verify(url, depth="bytes").report.ok
    ckpt_core.undo_repair(url)
    assert content(faulty_s3.behind) == before


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(faults.status(500, "InternalError"), marks=pytest.mark.long),
        faults.status(412, "PreconditionFailed"),
    ],
)
@pytest.mark.parametrize("first", [2, pytest.param(4, marks=pytest.mark.long), pytest.param(6, marks=pytest.mark.long)])
def test_a_repair_that_is_refused_from_some_request_on_is_old_or_new_or_undone(
    faulty_s3, tmp_path, monkeypatch, first, fault
):
    url = put_broken(faulty_s3.behind, sealed_by=tmp_path)
    before = content(faulty_s3.behind)
    monkeypatch.setenv("CKPT_REMOTE_TIMEOUT", "3")
    faulty_s3.proxy.rule(fault, method=CHANGES, first=first, last=None)
    child = repaired(url)  # a process that ends gives its lease up by that, whatever the store says
    assert child.wait(60) in (5, 9)
    seen = content(faulty_s3.behind)
    faulty_s3.proxy.clear()
    monkeypatch.delenv("CKPT_REMOTE_TIMEOUT")
    ckpt_core.repair(url, in_place=True)
    assert ckpt_core.verify(url, depth="bytes").report.ok
    assert states(before, content(faulty_s3.behind), seen)
    ckpt_core.undo_repair(url)
    assert content(faulty_s3.behind) == before
    assert not left_behind(faulty_s3.behind)


def test_two_that_repair_at_once_leave_one_repair(store):
    from concurrent.futures import ThreadPoolExecutor

    url = put_broken(store)

    def repair(_):
        try:
            return ckpt_core.repair(url, in_place=True).backup
        except ckpt_core.CkptError as error:
            return type(error).__name__

    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(repair, range(4)))
    assert ended.count(f"{url}/.ckpt-backup-1") == 1, ended
    assert set(ended) <= {f"{url}/.ckpt-backup-1", "LockedError", None}, ended
    assert not ckpt_core.verify(url, depth="bytes").report.findings
