"""What is written to a store shows whole or not at all, replaces only by force, and leaves nothing behind."""

import json

import fsspec
import numpy as np
import pytest

import ckpt_core
from ckpt_core import Depth, knobs
from ckpt_core.errors import CorruptError, LockedError, NoAnswerError, OverwriteError, PluginError, UsageError
from ckpt_core.schema.locations import LocationKind
from ckpt_core.storage.objects.open_store import open_store
from ckpt_core.storage.writing.targets import open_target

BOTH = pytest.mark.parametrize(("name", "format"), [("m.safetensors", "safetensors"), ("m.pth", "torch"), ("d", "hf")])


def weights(value=1.0, size=16):
    return {"w": np.full((size,), value, "f4"), "v": np.arange(4)}


@pytest.fixture(params=["memory", "s3", "gcs"])
def place(request):
    """A folder of a store that holds nothing."""
    if request.param != "memory":
        yield request.getfixturevalue(request.param).url
        return
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    yield "memory://runs"
    memory.store.clear()


def value_at(url):
    return float(np.frombuffer(ckpt_core.load(url).read("model", "w"), "f4")[0])


def keys(place):
    store, root = open_store(place)
    return sorted(one.key.removeprefix(f"{root}/") for one in store.find(f"{root}/"))


def uploads(place):
    store, root = open_store(place)
    return list(store.uploads(f"{root}/"))


SEALED = {"m.safetensors": ["m.safetensors", "m.safetensors.ckpt.json"], "m.pth": ["m.pth", "m.pth.ckpt.json"]}
DIRECTORY = ["d/ckpt.blocks", "d/ckpt.manifest.json", "d/model.safetensors"]


@BOTH
def test_what_is_written_is_read_verified_and_leaves_nothing_else(place, name, format):
    report = ckpt_core.save(weights(), f"{place}/{name}", format=format)
    assert report.location == f"{place}/{name}"
    assert value_at(report.location) == 1
    found = ckpt_core.verify(report.location, depth=Depth.BYTES).report
    assert found.ok and "SL" not in {finding.code[:2] for finding in found.findings}
    assert keys(place) == SEALED.get(name, DIRECTORY)


@BOTH
def test_what_is_there_is_replaced_only_by_force(place, name, format):
    url = f"{place}/{name}"
    ckpt_core.save(weights(1), url, format=format)
    before = keys(place)
    with pytest.raises(OverwriteError, match="force=True"):
        ckpt_core.save(weights(2), url, format=format)
    assert value_at(url) == 1 and keys(place) == before
    for value in (2, 3):
        ckpt_core.save(weights(value), url, format=format, force=True)
        assert value_at(url) == value
        assert ckpt_core.verify(url, depth=Depth.BYTES).report.ok
    if name == "d":
        names = [key.partition("/")[2] for key in keys(place)]
        assert names[-1] == "ckpt.manifest.json" and len(names) == 3
        assert {name.partition("-")[0] for name in names[:2]} == {".ckpt"}, "a stock tool finds nothing"
        assert ckpt_core.load(url).files.generation.startswith(".ckpt-generation-")
    else:
        assert keys(place) == before


class Raising:
    """A progress that fails in the middle of the writing."""

    def __init__(self, error):
        self.error = error

    def begin(self, total):
        pass

    def advance(self, count):
        raise self.error


@BOTH
@pytest.mark.parametrize("there", [False, True])
def test_an_exception_in_the_middle_leaves_what_was_there_and_nothing_else(place, name, format, there):
    url = f"{place}/{name}"
    if there:
        ckpt_core.save(weights(1), url, format=format)
    before = keys(place)
    for error, kind in ((KeyError("x"), PluginError), (KeyboardInterrupt(), KeyboardInterrupt)):
        with pytest.raises(kind):
            ckpt_core.save(weights(2), url, format=format, force=there, progress=Raising(error))
        assert keys(place) == before and not uploads(place)
    assert not there or value_at(url) == 1


def test_large_files_go_up_in_parts_and_no_upload_is_left(place):
    big = {"w": np.arange(8 << 20, dtype="f4"), "z": np.ones(5, "f4")}
    ckpt_core.save(big, f"{place}/d", format="hf", options={"max_shard_size": "20MB"})
    assert ckpt_core.verify(f"{place}/d", depth=Depth.BYTES).report.ok
    with pytest.raises(PluginError):
        ckpt_core.save(big, f"{place}/m.pth", progress=Raising(KeyError("x")))
    ckpt_core.save(big, f"{place}/m.pth")
    assert value_at(f"{place}/m.pth") == 0
    assert ckpt_core.verify(f"{place}/m.pth", depth=Depth.BYTES).report.ok
    assert not uploads(place) and "m.pth" in keys(place)


def test_who_comes_second_is_told_so(place):
    for name, kind in (("d", LocationKind.DIRECTORY), ("m.pth", LocationKind.FILE)):
        with (
            open_target(f"{place}/{name}", format="hf", kind=kind),
            pytest.raises(LockedError, match="is writing there"),
            open_target(f"{place}/{name}", format="hf", kind=kind),
        ):
            pass
    assert keys(place) == []


def test_a_directory_that_is_not_finished_is_no_checkpoint(place):
    with open_target(f"{place}/d", format="hf", kind=LocationKind.DIRECTORY):
        open_store(place)[0].put(f"{open_store(place)[1]}/d/model.safetensors", b"x")
        for verb in (ckpt_core.inspect, ckpt_core.verify, ckpt_core.load):
            with pytest.raises(CorruptError, match="not finished") as caught:
                verb(f"{place}/d")
            assert caught.value.code == "WR001"


def test_a_directory_whose_former_content_cannot_be_removed_is_an_error_and_clean_removes_it(place, monkeypatch):
    """Else a tool that knows no seal would go on reading it, and nobody would be told."""
    url, (store, root) = f"{place}/d", open_store(place)
    ckpt_core.save(weights(1), url, format="hf")
    store.put(f"{root}/d/notes.txt", b"theirs")

    def refuse(self, keys):
        named = list(keys)
        if any(key.endswith("d/model.safetensors") for key in named):
            raise NoAnswerError("the store failed")
        return delete(self, named)

    kind = type(store)
    delete = kind.delete
    monkeypatch.setattr(kind, "delete", refuse)
    with pytest.raises(NoAnswerError, match="is written and sealed, and what it replaces is still there") as caught:
        ckpt_core.save(weights(2), url, format="hf", force=True)
    assert f"ckpt clean {url}" in caught.value.message
    assert value_at(url) == 2 and "d/model.safetensors" in keys(place)
    store.put(f"{root}/d/since.txt", b"theirs")
    monkeypatch.setattr(kind, "delete", delete)
    (left,) = ckpt_core.clean(url).found
    assert left.files == 6, "three former objects, and three of the journal"
    assert not ckpt_core.clean(url, apply=True).pending
    assert value_at(url) == 2 and ckpt_core.verify(url, depth=Depth.BYTES).report.ok
    names = [key.removeprefix("d/") for key in keys(place)]
    assert [name for name in names if not name.startswith(".ckpt-generation-")] == ["ckpt.manifest.json", "since.txt"]


def test_what_is_to_be_replaced_stays_where_the_writer_stops_before_the_switch(place, monkeypatch):
    url = f"{place}/d"
    ckpt_core.save(weights(1), url, format="hf")
    before = keys(place)

    def stop(ready, seal):
        raise KeyboardInterrupt

    monkeypatch.setattr("ckpt_core.storage.writing.uploads.target.commit_directory", stop)
    monkeypatch.setattr("ckpt_core.storage.writing.uploads.target.ObjectTarget.drop", lambda self, **_: None)
    with pytest.raises(KeyboardInterrupt):
        ckpt_core.save(weights(2), url, format="hf", force=True)
    assert any("ckpt-journal" in key for key in keys(place))
    ckpt_core.clean(url, apply=True)
    assert value_at(url) == 1 and ckpt_core.verify(url, depth=Depth.BYTES).report.ok
    assert set(before) <= set(keys(place))


def test_what_appears_meanwhile_is_not_touched_and_ends_the_work(place):
    store, root = open_store(place)

    class Foreign:
        def begin(self, total):
            if store.head(f"{root}/d/theirs") is None:
                store.put(f"{root}/d/theirs", b"x")

        def advance(self, count):
            pass

    with pytest.raises(OverwriteError, match="theirs appeared"):
        ckpt_core.save(weights(), f"{place}/d", format="hf", progress=Foreign())
    assert keys(place) == ["d/theirs"]


def test_a_single_file_that_appears_meanwhile_is_not_touched(place):
    store, root = open_store(place)

    class Foreign:
        def begin(self, total):
            store.put(f"{root}/m.pth", b"x")

        def advance(self, count):
            pass

    with pytest.raises(OverwriteError, match="another writer was first"):
        ckpt_core.save(weights(), f"{place}/m.pth", progress=Foreign())
    assert keys(place) == ["m.pth"]


def test_a_file_is_never_replaced_by_a_directory_nor_a_directory_by_a_file(place):
    ckpt_core.save(weights(), f"{place}/x", format="torch")
    ckpt_core.save(weights(), f"{place}/d", format="hf")
    with pytest.raises(OverwriteError, match="is a file, and a directory"):
        ckpt_core.save(weights(), f"{place}/x", format="hf", force=True)
    with pytest.raises(OverwriteError, match="is a directory, and a file"):
        ckpt_core.save(weights(), f"{place}/d", format="torch", force=True)


def test_a_bucket_alone_is_no_place_to_write_to():
    with pytest.raises(UsageError, match="name a file or directory in it"):
        ckpt_core.save(weights(), "memory://", format="hf")


def test_a_replaced_object_is_unsealed_and_not_damaged(place):
    url = f"{place}/m.safetensors"
    ckpt_core.save(weights(1), url)
    store, root = open_store(place)
    other = ckpt_core.save(weights(2), f"{place}/other.safetensors").location
    store.copy(f"{root}/other.safetensors", f"{root}/m.safetensors")
    assert value_at(other) == value_at(url) == 2
    found = ckpt_core.verify(url, depth=Depth.BYTES).report
    assert found.ok and [one.code for one in found.findings if one.code.startswith(("SL", "WR"))] == ["WR003"]


def test_a_seal_names_what_a_store_knows_it_by(place):
    url = f"{place}/m.safetensors"
    ckpt_core.save(weights(1), url)
    store, root = open_store(place)
    seal = json.loads(store.read(f"{root}/m.safetensors.ckpt.json"))
    assert seal["objects"] == {"m.safetensors": store.head(f"{root}/m.safetensors").version}
    assert seal["id"] and "generation" not in seal


@pytest.mark.parametrize("slab", [1000, 1 << 20])
def test_workers_of_any_number_write_the_same(place, slab):
    data = {f"t{i}": np.random.default_rng(i).random(300_000) for i in range(9)}
    with knobs.override(workers=3, slab_bytes=slab):
        ckpt_core.save(data, f"{place}/a.pth")
    assert all(ckpt_core.load(f"{place}/a.pth").read("model", name) == value.tobytes() for name, value in data.items())
