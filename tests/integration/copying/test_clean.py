"""Writers of every kind killed, and cleaned up after: nothing of theirs is left, nothing of anybody else is touched."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import fsspec
import numpy as np
import pytest

import ckpt_core
from ckpt_core import CheckpointNotFoundError, UnsupportedFormatError, clean
from tests.integration.copying import children
from tests.integration.crash.os_calls import Stopper, in_child, intercept
from tests.servers.faults import kill
from tests.storage.copying.checkpoints import contents_of, model_directory


def weights(rows=20):
    return {"a": np.arange(rows * 1000.0), "b": np.ones(3)}


def killed_at(work, name, count=1):
    """Do some work in a child that is killed before the so-manyth call of a name."""

    def run():
        stopper = Stopper(None)

        def around(called, call, args, kwargs):
            if called == name and sum(one == name for one in stopper.names) == count - 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return stopper(called, call, args, kwargs)

        intercept(around)
        work()

    assert in_child(run).killed


def save_file(folder):
    ckpt_core.save(weights(), folder / "a.safetensors", force=True)


def convert(folder):
    ckpt_core.convert(folder / "source.safetensors", str(folder / "a.safetensors"))


def copy_directory(folder):
    ckpt_core.copy(folder / "model", folder / "copy")


def seal_file(folder):
    ckpt_core.seal(folder / "source.safetensors")


def seal_directory(folder):
    ckpt_core.seal(folder / "model")


WORK = [
    (save_file, "pwrite", 1),
    (save_file, "renameat2", 1),
    (convert, "pwrite", 2),
    (copy_directory, "pwrite", 3),
    (copy_directory, "rename", 1),
    (seal_file, "rename", 1),
    (seal_directory, "rename", 1),
    (seal_directory, "rename", 2),
]


@pytest.fixture
def folder(tmp_path):
    ckpt_core.save(weights(), tmp_path / "source.safetensors")
    os.remove(tmp_path / "source.safetensors.ckpt.json")
    model_directory(tmp_path / "model")
    (tmp_path / ".other.tmp-stage-1").mkdir()
    (tmp_path / ".notes.ckpt").write_text("somebody's")
    return tmp_path


@pytest.mark.parametrize(("work", "name", "count"), WORK, ids=lambda value: getattr(value, "__name__", str(value)))
def test_what_a_killed_writer_left_on_a_disk_is_listed_then_removed_then_the_work_succeeds(work, name, count, folder):
    before = contents_of(folder)
    killed_at(lambda: work(folder), name, count)
    left = contents_of(folder)
    found = clean(folder)
    assert contents_of(folder) == left, "a plan changes nothing"
    assert found.pending
    new = {path for path in left if path not in before and path != "model/ckpt.blocks"}
    assert new
    assert sum(one.files for one in found.found) == len(new)
    assert sum(one.nbytes for one in found.found) <= sum(len(left[path]) for path in new)
    done = clean(folder, apply=True)
    assert not done.pending
    assert all(one.removed for one in done.found)
    assert {path: data for path, data in contents_of(folder).items() if path in before} == before
    assert not [path for path in contents_of(folder) if ".ckpt-" in path]
    assert clean(folder).found == ()
    work(folder)


def test_a_backup_that_undo_needs_is_no_leftover_and_one_of_nothing_is(tmp_path):
    model = model_directory(tmp_path / "model")
    for number, name in ((1, "steps.json"), (2, "new-0")):
        (model / f".ckpt-backup-{number}").mkdir()
        (model / f".ckpt-backup-{number}" / name).write_text("{}")
    found = clean(model, apply=True)
    assert [one.kind for one in found.found] == ["repair that had changed nothing"]
    assert sorted(path.name for path in model.glob(".ckpt-*")) == [".ckpt-backup-1"]


def test_what_a_writer_is_at_work_on_stays(tmp_path):
    def hold(ready, place):
        from ckpt_core.schema.locations import LocationKind
        from ckpt_core.storage.writing.targets import open_target

        with open_target(place, format="safetensors", kind=LocationKind.FILE):
            ready.set()
            time.sleep(60)

    context = multiprocessing.get_context("fork")
    ready = context.Event()
    writer = context.Process(target=hold, args=(ready, str(tmp_path / "a.safetensors")))
    writer.start()
    try:
        assert ready.wait(120)
        (one,) = clean(tmp_path, apply=True).found
        assert one.held
        assert not one.removed
        assert list(tmp_path.glob(".a.safetensors.ckpt-stage-*"))
    finally:
        writer.kill()
        writer.join()
    assert clean(tmp_path, apply=True).found[0].removed
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_not_there_is_not_clean(tmp_path):
    with pytest.raises(CheckpointNotFoundError, match="nothing was left of it"):
        clean(tmp_path / "nothing")
    with pytest.raises(CheckpointNotFoundError):
        clean("memory://nothing/here")
    with pytest.raises(UnsupportedFormatError):
        clean("https://127.0.0.1/x")
    assert clean(tmp_path).found == ()


def names(place):
    files, root = fsspec.core.url_to_fs(place)
    files.invalidate_cache()
    return {name[len(root) :].lstrip("/"): files.info(name)["size"] for name in files.find(root) if files.isfile(name)}


def uploads(place):
    from ckpt_core.storage.objects.open_store import open_store

    store, key = open_store(place)
    return list(store.uploads(key))


@pytest.mark.parametrize(
    ("work", "name"),
    [
        ("replace", "model"),
        pytest.param("save", "a.safetensors", marks=pytest.mark.long),
        pytest.param("convert", "a.pth", marks=pytest.mark.long),
        pytest.param("copy", "model", marks=pytest.mark.long),
    ],
)
def test_what_a_killed_writer_left_in_a_store_is_removed_and_nothing_else(faulty_s3, nursery, work, name, tmp_path):
    place, other = f"{faulty_s3.url}/out/{name}", f"{faulty_s3.url}/out/other"
    source = model_directory(tmp_path / "model")
    if work == "convert":
        source = tmp_path / "b.safetensors"
        ckpt_core.save(children.large(), source)
    ckpt_core.copy(model_directory(tmp_path / "other"), other)
    if work == "replace":
        ckpt_core.copy(model_directory(tmp_path / "before", seed=3), place)
    faulty_s3.put("out/foreign.bin", b"x" * 1000)
    from ckpt_core.storage.objects.open_store import open_store

    store, key = open_store(f"{faulty_s3.url}/out/foreign-upload")
    foreign = store.begin_upload(key)
    before = names(faulty_s3.url)
    arguments = {"save": [place], "replace": [str(source), place, 4, True]}.get(work, [str(source), place])
    call = f"tests.integration.copying.children:{'copy' if work == 'replace' else work}"
    faulty_s3.proxy.clear()
    faulty_s3.proxy.rule(kill(nursery.child, done=True), method="PUT", path=r"partNumber=2|model-00001.*safetensors")
    assert nursery.run(call, *arguments, env=faulty_s3.env) == -signal.SIGKILL
    faulty_s3.proxy.clear()
    left = names(faulty_s3.url)
    found = clean(f"{faulty_s3.url}/out")
    assert [one.place for one in found.found] == [place]
    assert found.pending, found
    assert names(faulty_s3.url) == left
    done = clean(f"{faulty_s3.url}/out", apply=True)
    assert all(one.removed for one in done.found), done
    assert names(faulty_s3.url) == before
    assert [upload.id for upload in uploads(f"{faulty_s3.url}/out")] == [foreign]
    assert clean(f"{faulty_s3.url}/out").found == ()
    if work == "replace":
        assert ckpt_core.verify(place, depth="bytes").report.ok
    assert nursery.run(call, *arguments, env=faulty_s3.env) == 0
    assert ckpt_core.verify(place, depth="bytes").report.ok


def test_the_command_line_plans_first_and_says_what_it_would_remove(folder):
    killed_at(lambda: convert(folder), "pwrite", 2)

    def run(*words):
        code = "import sys; from ckpt_core.cli.main import main; sys.exit(main())"
        return subprocess.run(
            [sys.executable, "-c", code, "clean", str(folder), *words], capture_output=True, text=True
        )

    plan = run()
    assert plan.returncode == 1, plan
    assert "unfinished write that can go on" in plan.stdout
    assert plan.stdout.splitlines()[-1].endswith("--apply does it")
    said = json.loads(run("--json").stdout)
    assert (said["schema"], said["exit"], said["result"]["applied"]) == ("ckpt/clean@1", 1, False)
    assert said["result"]["found"][0]["place"] == str(folder / "a.safetensors")
    assert run("-q").stdout == f"{folder / 'a.safetensors'}\n"
    done = run("--apply")
    assert done.returncode == 0
    assert "removed" in done.stdout
    assert "nothing is left" in run().stdout


def test_a_writer_of_another_machine_counts_as_gone_once_its_lease_is_over_by_the_clock_of_the_store():
    from dataclasses import replace

    from ckpt_core.storage.objects.lease_record import new_record
    from ckpt_core.storage.objects.memory_store import MemoryStore

    store = MemoryStore()
    record = new_record(store.now(), 2, "", ("bucket/out/a.safetensors",))
    record = replace(record, holder=replace(record.holder, host="elsewhere", boot="another"))
    store.put("bucket/out/.ckpt-unfinished.json", record.encoded())
    store.put("bucket/out/a.safetensors", b"data")
    store.put("bucket/out/b.safetensors", b"somebody's")
    try:
        (one,) = clean("memory://bucket/out", apply=True).found
        assert "elsewhere" in one.held
        assert not one.removed
        time.sleep(2.2)
        (one,) = clean("memory://bucket/out", apply=True).found
        assert one.removed
        assert [found.key for found in store.find("bucket/")] == ["bucket/out/b.safetensors"]
    finally:
        store.delete([found.key for found in store.find("bucket/")])
