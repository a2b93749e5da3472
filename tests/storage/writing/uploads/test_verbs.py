"""Convert, seal, inspect and the forecast at stores of objects, as at a disk."""

import hashlib
import json
import os
from dataclasses import replace

import fsspec
import numpy as np
import pytest

import ckpt_core
from ckpt_core import Depth
from ckpt_core.errors import BudgetError, CorruptError, LockedError, OverwriteError, UnsupportedFormatError
from ckpt_core.schema.locations import LocationKind
from ckpt_core.storage.objects.lease import held
from ckpt_core.storage.objects.lease_record import new_record
from ckpt_core.storage.objects.open_store import open_store
from ckpt_core.storage.writing.overlap import refuse_overlap
from ckpt_core.storage.writing.targets import open_target

LARGE = {"w": np.arange(6 << 20, dtype="f4"), "x": np.ones((2 << 20,), "f4"), "z": np.ones(5, "f4")}


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


def keys(place):
    store, root = open_store(place)
    return sorted(one.key.removeprefix(f"{root}/") for one in store.find(f"{root}/"))


class Stop:
    """A progress that is interrupted once so many bytes are written."""

    def __init__(self, after):
        self.left = after
        self.total = self.seen = 0

    def begin(self, total):
        self.total = total

    def advance(self, count):
        self.seen += count
        self.left -= count
        if self.left < 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("name", "to"), [("out", "hf"), ("out.pth", "torch")])
def test_a_conversion_that_was_stopped_goes_on_from_what_is_in_the_store(place, name, to):
    source = ckpt_core.save(LARGE, f"{place}/source.safetensors").location
    with pytest.raises(KeyboardInterrupt):
        ckpt_core.convert(source, f"{place}/{name}", to=to, progress=Stop(LARGE["w"].nbytes))
    left = keys(place)
    assert any(".ckpt-journal/" in key for key in left)
    if name == "out":
        with pytest.raises(CorruptError, match="not finished"):
            ckpt_core.inspect(f"{place}/out")
    again = Stop(1 << 40)
    report = ckpt_core.convert(source, f"{place}/{name}", to=to, progress=again).report
    assert ckpt_core.diff(source, f"{place}/{name}").identical and report.tensors == 3
    assert ckpt_core.verify(f"{place}/{name}", depth=Depth.BYTES).report.ok
    assert not [key for key in keys(place) if ".ckpt-" in key and not key.endswith(".ckpt.json")]
    done = ckpt_core.convert(source, f"{place}/{name}", to=to)
    assert done.already_done


@pytest.mark.parametrize(("name", "to"), [("out", "hf"), ("m.pth", "torch")])
def test_work_that_was_done_already_is_compared_under_a_lease_and_swept_behind(place, name, to):
    small = {"w": np.arange(6.0)}
    source, url = ckpt_core.save(small, f"{place}/source.safetensors").location, f"{place}/{name}"
    ckpt_core.convert(source, url, to=to)
    ckpt_core.copy(url, f"{place}/copy-{name}")
    there = keys(place)
    store, root = open_store(place)
    own = f"{root}/{name}/" if to == "hf" else f"{root}/.{name}"
    with held(store, f"{own}.ckpt-lease.json", place=url):
        with pytest.raises(LockedError, match="is writing there"):
            ckpt_core.convert(source, url, to=to)
        with pytest.raises(LockedError, match="is writing there"):
            ckpt_core.copy(f"{place}/copy-{name}", url)
    gone = replace(new_record(store.now(), 60, "", ()), ended=True)
    for again in (lambda: ckpt_core.convert(source, url, to=to), lambda: ckpt_core.copy(f"{place}/copy-{name}", url)):
        store.put(f"{own}.ckpt-lease.json", gone.encoded())
        if to == "hf":
            store.put(f"{own}.ckpt-unfinished.json", gone.encoded())
        assert again().already_done
        assert keys(place) == there


def test_work_of_another_kind_begins_anew_where_one_was_stopped(place):
    source = ckpt_core.save(LARGE, f"{place}/source.safetensors").location
    with pytest.raises(KeyboardInterrupt):
        ckpt_core.convert(source, f"{place}/out", to="hf", progress=Stop(LARGE["w"].nbytes))
    ckpt_core.convert(source, f"{place}/out", to="hf", dtypes="bf16")
    assert ckpt_core.verify(f"{place}/out", depth=Depth.BYTES).report.ok
    assert keys(f"{place}/out") == ["ckpt.blocks", "ckpt.manifest.json", "model.safetensors"]
    store, root = open_store(place)
    assert not list(store.uploads(f"{root}/"))


def test_an_input_is_no_place_to_write_to(place):
    ckpt_core.save(LARGE, f"{place}/d", format="hf")
    for to in (f"{place}/d", f"{place}/d/", f"{place}/d/sub.pth", place):
        with pytest.raises(OverwriteError, match="would overwrite its own source"):
            ckpt_core.convert(f"{place}/d", to, to="torch", force=True)


@pytest.mark.parametrize(("ref", "source", "refused"), [
    ("s3://b/x", "s3://b/x", True), ("s3://b/x/y", "s3://b/x", True), ("s3://b", "s3://b/x", True),
    ("s3://b/xy", "s3://b/x", False), ("s3://c/x", "s3://b/x", False), ("gs://b/x", "s3://b/x", False),
    ("gs://b/x/", "gcs://b/x", True), ("/b/x", "s3://b/x", False), ("S3://b/x", "s3://b/x/y.pth", True),
])  # fmt: skip
def test_urls_that_lie_in_each_other_are_told(ref, source, refused):
    if not refused:
        refuse_overlap(ref, {source: "the source"})
        return
    with pytest.raises(OverwriteError, match="would overwrite the source"):
        refuse_overlap(ref, {source: "the source"})


def test_what_would_be_put_is_told_beforehand(place):
    source = ckpt_core.save(LARGE, f"{place}/source.safetensors").location
    before = keys(place)
    forecast = ckpt_core.convert(source, f"{place}/out", to="hf", dry_run=True).forecast
    part = open_store(place)[0].part_bytes(forecast.written)
    (size,) = (size for path, size in forecast.files.items())
    assert forecast.written == size and forecast.requests == -(-size // part) + 2 + 5
    assert keys(place) == before
    assert ckpt_core.convert(source, "/tmp/none", to="hf", dry_run=True).forecast.requests is None


def test_a_limit_of_memory_counts_the_parts(place):
    source = ckpt_core.save(LARGE, f"{place}/source.safetensors").location
    with pytest.raises(BudgetError, match="takes at least"):
        ckpt_core.convert(source, f"{place}/out", to="hf", max_memory=64 << 20)
    done = ckpt_core.convert(source, f"{place}/out", to="hf", max_memory=80 << 20)
    assert 64 << 20 < done.forecast.memory <= 80 << 20


def test_a_checkpoint_of_others_is_sealed_where_it_lies(place):
    store, root = open_store(place)
    ckpt_core.save(LARGE, f"{place}/d", format="hf")
    store.delete([f"{root}/d/ckpt.blocks", f"{root}/d/ckpt.manifest.json"])
    assert ckpt_core.seal(f"{place}/d", sha256=True).sums == "SHA256SUMS"
    assert keys(f"{place}/d") == ["SHA256SUMS", "ckpt.blocks", "ckpt.manifest.json", "model.safetensors"]
    line = store.read(f"{root}/d/SHA256SUMS").decode().splitlines()[0]
    assert line == f"{hashlib.sha256(store.read(f'{root}/d/model.safetensors')).hexdigest()}  model.safetensors"
    with pytest.raises(OverwriteError, match="sealed already"):
        ckpt_core.seal(f"{place}/d")
    ckpt_core.seal(f"{place}/d", force=True)
    found = ckpt_core.verify(f"{place}/d", depth=Depth.BYTES).report
    assert found.ok and not [one for one in found.findings if one.code.startswith(("SL", "WR"))]
    store.put(f"{root}/d/model.safetensors", store.read(f"{root}/d/model.safetensors")[:-1] + b"x")
    assert not ckpt_core.verify(f"{place}/d", depth=Depth.BYTES).report.ok, "it proves something"


def test_a_single_object_of_others_is_sealed_with_its_version(place):
    url = ckpt_core.save(LARGE, f"{place}/m.safetensors").location
    store, root = open_store(place)
    store.delete([f"{root}/m.safetensors.ckpt.json"])
    ckpt_core.seal(url, sha256=True)
    said = json.loads(store.read(f"{root}/m.safetensors.ckpt.json"))
    assert said["objects"] == {"m.safetensors": store.head(f"{root}/m.safetensors").version}
    assert keys(place) == ["m.safetensors", "m.safetensors.ckpt.json", "m.safetensors.sha256"]
    store.put(f"{root}/m.safetensors", store.read(f"{root}/m.safetensors"))
    assert ckpt_core.verify(url).report.ok
    ckpt_core.seal(url, force=True)
    assert not [one for one in ckpt_core.verify(url).report.findings if one.code == "WR003"]


def test_a_replaced_directory_can_be_sealed_again(place):
    for value in (1, 2):
        ckpt_core.save({"w": np.full(9, value, "f4")}, f"{place}/d", format="hf", force=True)
    generation = ckpt_core.load(f"{place}/d").files.generation
    ckpt_core.seal(f"{place}/d", force=True)
    assert ckpt_core.load(f"{place}/d").files.generation == generation != ""
    assert ckpt_core.verify(f"{place}/d", depth=Depth.BYTES).report.ok


def test_the_container_of_a_replaced_directory_shows_it_as_it_is(place):
    for value in (1, 2):
        ckpt_core.save({"w": np.full(9, value, "f4")}, f"{place}/runs/a", format="hf", force=True)
    ckpt_core.save({"w": np.full(9, 3, "f4")}, f"{place}/runs/b", format="hf")
    with open_target(f"{place}/runs/c", format="hf", kind=LocationKind.DIRECTORY):
        store, root = open_store(place)
        store.put(f"{root}/runs/c/model.safetensors", store.read(f"{root}/runs/b/model.safetensors"))
        members = sorted(match.root for match in ckpt_core.inspect(f"{place}/runs").members)
        assert members == ["a", "b"]
        assert float(np.frombuffer(ckpt_core.load(f"{place}/runs#a").read("model", "w"), "f4")[0]) == 2
        store.delete([f"{root}/runs/c/model.safetensors"])


def test_nothing_is_sealed_where_nothing_can_be_written(tmp_path):
    with pytest.raises((UnsupportedFormatError, OSError)):
        ckpt_core.seal("https://127.0.0.1:9/x.safetensors")


def test_who_seals_while_another_seals_is_told(place):
    ckpt_core.save({"w": np.ones(3, "f4")}, f"{place}/d", format="hf")
    from ckpt_core.storage.listing import list_files
    from ckpt_core.storage.sealing import sealing

    with sealing(list_files(f"{place}/d")), pytest.raises(LockedError):
        ckpt_core.seal(f"{place}/d", force=True)
    assert not os.path.exists(place)
