"""`dcp.save` and `dcp.async_save` through CkptStorageWriter: one process here, ranks in makers/live_writer.py."""

import gc
import io
import json
import os
import pickle
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
import torch.distributed.checkpoint as dcp
from ckpt_fsdp import CkptStorageReader, CkptStorageWriter
from torch.distributed.checkpoint.api import CheckpointException

from ckpt_core import CkptError, UnsupportedFormatError, UsageError, fingerprint, load, verify
from ckpt_core.storage.objects.open_store import open_store

FILES = [".metadata", "__0_0.distcp", "ckpt.blocks", "ckpt.manifest.json"]
pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


@pytest.fixture
def state():
    torch.manual_seed(0)
    model = torch.nn.Linear(300, 70)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 300)).sum().backward()
    optimizer.step()
    turned = torch.arange(6.0).reshape(2, 3).t()
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": 7, "turned": turned}


@contextmanager
def fails(kind):
    """The one error of a rank that `dcp.save` fails with: of a kind, and in one line."""
    said = []
    with pytest.raises(CheckpointException) as caught:
        yield said
    ((error, _),) = caught.value.failures.values()
    assert isinstance(error, kind) and "\n" not in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error), "another rank is told it as a pickle"
    said.append(str(error))


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_stock_torch_and_ours_read_what_was_written_and_every_byte_is_proved(state, tmp_path):
    writer = CkptStorageWriter(tmp_path / "saved", provenance={"step": 7})
    dcp.save(state, storage_writer=writer)
    assert left(tmp_path / "saved") == FILES
    for reader in ({"checkpoint_id": tmp_path / "saved"}, {"storage_reader": CkptStorageReader(tmp_path / "saved")}):
        again = {"model": {name: torch.zeros_like(one) for name, one in state["model"].items()}, "step": 0}
        again["turned"] = torch.zeros(3, 2)
        dcp.load(again, **reader)
        assert again["step"] == 7 and torch.equal(again["turned"], state["turned"])
        assert all(torch.equal(again["model"][name], one) for name, one in state["model"].items())
    checkpoint = load(tmp_path / "saved")
    assert verify(checkpoint, depth="bytes").report.ok
    assert writer.report.components["model"] == fingerprint(checkpoint, "model").digest, "taken as it was written"
    content = bytearray((tmp_path / "saved" / "__0_0.distcp").read_bytes())
    content[-2000] ^= 1
    (tmp_path / "saved" / "__0_0.distcp").write_bytes(content)
    assert not verify(tmp_path / "saved", depth="bytes").report.ok


def test_what_is_there_is_never_replaced(state, tmp_path):
    dcp.save(state, storage_writer=CkptStorageWriter(tmp_path / "saved"))
    before = (tmp_path / "saved" / "ckpt.manifest.json").read_bytes()
    with fails(CkptError) as said:
        dcp.save({"step": 8}, storage_writer=CkptStorageWriter(tmp_path / "saved"))
    assert "replaces nothing" in said[0]
    assert (tmp_path / "saved" / "ckpt.manifest.json").read_bytes() == before
    assert left(tmp_path) == ["saved"]


def test_what_runs_code_when_it_is_read_is_refused_and_the_stage_is_left_to_ranks_that_still_write(state, tmp_path):
    writer = CkptStorageWriter(tmp_path / "odd")
    with fails(UnsupportedFormatError) as said:
        dcp.save({**state, "odd": io.StringIO}, storage_writer=writer)
    assert "odd: its value needs a pickle that runs code" in said[0]
    assert any("stage" in name for name in left(tmp_path))
    writer.close()
    assert left(tmp_path) == []


class Failing(dcp.DefaultSavePlanner):
    """As where another rank fails: the writer of this one is told nothing."""

    def finish_plan(self, plan):
        raise OSError("gone")


def test_what_a_save_that_failed_elsewhere_has_left_goes_with_its_writer(state, tmp_path):
    writer = CkptStorageWriter(tmp_path / "saved")
    for end in (writer.close, lambda: dcp.save(state, storage_writer=CkptStorageWriter(tmp_path / "saved"))):
        with fails(OSError):
            dcp.save(state, storage_writer=writer, planner=Failing())
        assert any("stage" in name for name in left(tmp_path))
        end()
        assert not any("stage" in name for name in left(tmp_path))
    with fails(OSError):
        dcp.save(state, storage_writer=CkptStorageWriter(tmp_path / "other"), planner=Failing())
    gc.collect()
    assert left(tmp_path) == ["saved"]


class During(dcp.DefaultSavePlanner):
    """While its data is written, another save with the same writer is tried."""

    def __init__(self, other):
        super().__init__()
        self.other = other

    def resolve_data(self, item):
        self.other()
        return super().resolve_data(item)


def test_a_second_save_with_a_writer_that_is_writing_is_refused_and_the_first_is_made(state, tmp_path):
    writer = CkptStorageWriter(tmp_path / "first")

    def other():
        with fails(UsageError) as said:
            dcp.save(state, storage_writer=writer, checkpoint_id=tmp_path / "second")
        assert "is under way; wait for it" in said[0]

    dcp.save(state, storage_writer=writer, planner=During(other))
    assert left(tmp_path) == ["first"] and verify(tmp_path / "first", depth="bytes").report.ok


class Overtaken(CkptStorageWriter):
    """A writer whose other thread has written another save before this one is finished."""

    def write_data(self, plan, planner):
        done = super().write_data(plan, planner)
        self.reset(f"{self.checkpoint_id}-later")
        self.set_up_storage_writer(True)
        super().write_data(*self.prepare_global_plan([replace(plan, storage_data=None)]), planner)
        return done


def test_a_save_commits_no_stage_but_its_own(state, tmp_path):
    writer = Overtaken(tmp_path / "saved")
    with fails(UsageError) as said:
        dcp.save(state, storage_writer=writer)
    assert "was begun meanwhile; nothing was committed" in said[0]
    writer.close()
    assert left(tmp_path) == []


class Elsewhere(dcp.DefaultSavePlanner):
    """As at a node with another disk, which has a folder of that name too."""

    def finish_plan(self, plan):
        folder = plan.storage_data.ticket.folder
        os.rename(folder, f"{folder}-of-rank-0")
        os.mkdir(folder)
        return super().finish_plan(plan)


def test_a_rank_that_sees_another_disk_is_refused(state, tmp_path):
    writer = CkptStorageWriter(tmp_path / "saved")
    with fails(UsageError) as said:
        dcp.save(state, storage_writer=writer, planner=Elsewhere())
    writer.close()
    assert "does not see what rank 0 has made there; give a place on a disk that all ranks share" in said[0]
    assert left(tmp_path) == []


def test_what_torch_has_for_other_purposes_is_refused(state, tmp_path):
    with pytest.raises(UsageError, match="use_collectives=False"):
        dcp.save(state, storage_writer=CkptStorageWriter(tmp_path / "alone"), use_collectives=False)
    planner = dcp.DefaultSavePlanner(enable_plan_caching=True)
    try:
        dcp.save(state, storage_writer=CkptStorageWriter(tmp_path / "first"), planner=planner)
        with fails(UsageError) as said:
            dcp.save(state, storage_writer=CkptStorageWriter(tmp_path / "second"), planner=planner)
    finally:
        for name in ("save_plan", "final_save_plan", "all_plans", "global_plan", "metadata"):
            getattr(dcp.SavePlanner, f"_cached_{name}").clear()
    assert "enable_plan_caching=True" in said[0] and left(tmp_path) == ["first"]


def test_memory_is_written_to_by_this_process_alone(state):
    writer = CkptStorageWriter("memory://live-writer/saved")
    dcp.save(state, storage_writer=writer)
    assert verify("memory://live-writer/saved", depth="bytes").report.ok
    with pytest.raises(UnsupportedFormatError, match=r"AsyncCheckpointerType\.THREAD"):
        pickle.dumps(writer)


def stored(url):
    """What lies in a folder of a store, also of work under way, and the uploads there."""
    store, key = open_store(url)
    return [one.key.removeprefix(f"{key}/") for one in store.find(f"{key}/")], list(store.uploads(f"{key}/"))


def test_a_store_gets_parts_of_an_upload_and_the_seal_last(state, s3, monkeypatch):
    state["large"] = torch.arange(5 << 20, dtype=torch.float32)
    failed = CkptStorageWriter(f"{s3.url}/saved")
    with fails(OSError):
        dcp.save(state, storage_writer=failed, planner=Failing())
    assert stored(s3.url)[0] != []
    failed.close()
    assert stored(s3.url) == ([], [])

    reached = {"endpoint_url": s3.env["AWS_ENDPOINT_URL_S3"]}
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    dcp.save(state, storage_writer=CkptStorageWriter(f"{s3.url}/saved", storage_options=reached))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", reached["endpoint_url"])
    assert stored(s3.url) == ([f"saved/{name}" for name in FILES], [])
    assert verify(f"{s3.url}/saved", depth="bytes").report.ok
    with fails(CkptError) as said:
        dcp.save(state, storage_writer=CkptStorageWriter(f"{s3.url}/saved"))
    assert "replaces nothing" in said[0]


@pytest.mark.long
def test_a_store_of_google_gets_it_too(state, gcs):
    state["large"] = torch.arange(5 << 20, dtype=torch.float32)
    failed = CkptStorageWriter(f"{gcs.url}/saved")
    with fails(OSError):
        dcp.save(state, storage_writer=failed, planner=Failing())
    failed.close()
    assert stored(gcs.url) == ([], [])
    dcp.save(state, storage_writer=CkptStorageWriter(f"{gcs.url}/saved"))
    assert stored(gcs.url) == ([f"saved/{name}" for name in FILES], [])
    assert verify(f"{gcs.url}/saved", depth="bytes").report.ok


@pytest.mark.long
def test_ranks_save_to_a_store_what_one_fails_with_too(torchrun, s3, monkeypatch, tmp_path):
    for key, value in s3.env.items():
        monkeypatch.setenv(key, value)
    torchrun("live_writer.py", 2, tmp_path, 20, f"{s3.url}/ranks")
    for name in ("saved", "failing", *(f"{kind}/{step}" for kind in ("thread", "process") for step in range(20))):
        assert verify(f"{s3.url}/ranks/{name}", depth="bytes").report.ok, name
    names, uploads = stored(s3.url)
    assert not [name for name in names if ".ckpt-" in name] and uploads == []


@pytest.fixture(scope="module")
def sample(made):
    folder = made("live_writer.py", 2, 3)
    return folder, [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(2)]


def test_ranks_write_their_boxes_and_replicas_once(sample):
    folder, (first, second) = sample
    assert first["saved"] == [".metadata", "__0_0.distcp", "__1_0.distcp"] and second["saved"] is None
    assert verify(folder / "saved", depth="bytes").report.ok


def test_what_one_rank_fails_with_is_one_line_at_each_and_the_next_save_is_made(sample):
    folder, found = sample
    for one in found:
        (full,), (there,), (odd,) = one["failing"]
        assert full == "BudgetError: the disk is full; make room"
        assert "replaces nothing" in there and "no safe reader takes" in odd
    assert not [name for name in left(folder) if "stage" in name]
    assert verify(folder / "failing", depth="bytes").report.ok


def own_steps(folder, name, saves):
    """Check that each save in the background has its own step, whatever its weights were overwritten with."""
    for step in range(saves):
        checkpoint = load(folder / name / str(step))
        assert verify(checkpoint, depth="bytes").report.ok
        for weights in checkpoint.to_torch("model").values():
            assert torch.equal(weights, torch.full_like(weights, float(step))), (name, step)
        assert checkpoint.component("progress").state == {"step": step}


def test_weights_overwritten_behind_a_save_in_the_background_are_not_in_it(sample):
    own_steps(sample[0], "thread", 3)


@pytest.mark.long
def test_twenty_saves_in_threads_and_in_torchs_process_have_each_its_own_step(made):
    folder = made("live_writer.py", 2, 20)
    for name in ("thread", "blocking", "stager", "process", "shared"):
        own_steps(folder, name, 20)
