"""Publishing: every version opens as what it was, and what two of them share is stored once."""

import json
import os
import shutil

import pytest
import torch

import ckpt_core
from ckpt_core.errors import CheckpointNotFoundError, CorruptError, OverwriteError, UsageError
from ckpt_core.storage.versions import publication
from ckpt_core.storage.versions.opening import open_version_store
from ckpt_core.verbs.versions import storing


def weights(seed=0, layers=6):
    made = torch.Generator().manual_seed(seed)
    return {f"layer.{n}.weight": torch.randn(16, 8, generator=made) for n in range(layers)}


def saved(path, tensors):
    ckpt_core.save({"model": tensors}, path)
    return path


def contents(place):
    return {path.relative_to(place): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


@pytest.fixture
def store(tmp_path):
    return tmp_path / "versions"


@pytest.fixture
def first(tmp_path):
    return saved(tmp_path / "a.safetensors", weights())


def test_two_saves_are_v0_and_v1_the_newest_again_is_v1_and_an_older_one_has_no_new_bytes(tmp_path, store, first):
    changed = {**weights(), "layer.3.weight": torch.zeros(16, 8)}
    second = saved(tmp_path / "b.safetensors", changed)
    assert ckpt_core.publish(first, store).version.name == "v0"
    done = ckpt_core.publish(second, store)
    assert (done.version.name, done.version.new, done.already_there) == ("v1", 16 * 8 * 4, False)
    again = ckpt_core.publish(second, store)
    assert (again.version.name, again.already_there) == ("v1", True)
    older = ckpt_core.publish(first, store)
    assert (older.version.name, older.version.new) == ("v2", 0)
    assert [one.name for one in ckpt_core.list_versions(store).versions] == ["v0", "v1", "v2"]


def test_a_version_is_written_out_again_byte_for_byte(tmp_path, store):
    folder = tmp_path / "run"
    ckpt_core.save(
        {"model": weights(), "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "lr": 0.1}},
        folder,
        format="bundle",
    )
    (folder / "notes.txt").write_bytes(b"kept as it is\x00")
    ckpt_core.seal(folder, force=True)
    ckpt_core.publish(folder, store)
    ckpt_core.copy(f"{store}@v0", tmp_path / "out")
    assert contents(tmp_path / "out") == contents(folder)


def test_a_version_opens_as_the_format_that_it_was_published_in(tmp_path, store, first):
    torch.save(weights(), tmp_path / "a.pth")
    ckpt_core.publish(first, store)
    done = ckpt_core.publish(tmp_path / "a.pth", store)
    opened = [ckpt_core.load(f"{store}@{name}") for name in ("v0", "v1", "latest")]
    assert [one.match.format for one in opened] == ["safetensors", "torch", "torch"]
    assert str(opened[2].location) == f"{store}@v1"
    assert done.version.new < 3000, "the same weights in another format are there already"
    for one in opened:
        assert all(torch.equal(tensor, weights()[name]) for name, tensor in one.to_torch().items())
        assert ckpt_core.verify(one, depth="values").report.ok


def test_two_versions_are_compared_like_two_checkpoints(tmp_path, store, first):
    ckpt_core.publish(first, store)
    ckpt_core.publish(saved(tmp_path / "b.safetensors", {**weights(), "layer.1.weight": torch.ones(16, 8)}), store)
    report = ckpt_core.diff(f"{store}@v0", f"{store}@v1")
    assert [one.name for one in report.changed] == ["layer.1.weight"]


def test_a_version_is_converted_without_a_copy(tmp_path, store, first):
    ckpt_core.publish(first, store)
    ckpt_core.convert(f"{store}@v0", tmp_path / "out.pth")
    assert all(torch.equal(one, weights()[name]) for name, one in torch.load(tmp_path / "out.pth").items())


def test_shards_of_rows_are_the_tensor_that_they_are_of(tmp_path, store):
    """The same weights once in one file, and once in the items of a DCP directory."""
    large = {"w": torch.randn(64, 32), "b": torch.randn(7)}
    ckpt_core.publish(saved(tmp_path / "a.safetensors", large), store)
    ckpt_core.save({"model": large}, tmp_path / "dcp", format="dcp")
    done = ckpt_core.publish(tmp_path / "dcp", store)
    assert done.version.new == done.version.size - (64 * 32 + 7) * 4
    assert torch.equal(ckpt_core.load(f"{store}@v1").to_torch()["w"], large["w"])


def test_pieces_of_every_length_are_put_together_again(tmp_path, store, monkeypatch):
    """Packs that fill up, pieces of their own objects, and those that are read twice since they are large."""
    monkeypatch.setattr(publication, "SMALL", 600)
    monkeypatch.setattr(storing, "SMALL", 600)
    monkeypatch.setattr(publication, "PACK", 1500)
    monkeypatch.setattr(storing, "_IN_MEMORY", 3000)
    tensors = {f"t{n}": torch.randn(n * 11) for n in range(1, 90)}
    path = saved(tmp_path / "a.safetensors", tensors)
    ckpt_core.publish(path, store)
    assert all(torch.equal(one, tensors[name]) for name, one in ckpt_core.load(f"{store}@v0").to_torch().items())
    objects = [file for file in (store / "objects").rglob("*") if file.is_file()]
    assert len([one for one in objects if one.name.startswith("pack-")]) > 2
    assert len([one for one in objects if len(one.name) == 64]) > 20
    ckpt_core.copy(f"{store}@v0", tmp_path / "out.safetensors")
    assert (tmp_path / "out.safetensors").read_bytes() == path.read_bytes()


def test_what_had_no_seal_is_compared_with_the_one_that_it_got(store, first):
    os.remove(f"{first}.ckpt.json")
    ckpt_core.publish(first, store)
    pack = next((store / "objects").rglob("pack-*"))
    damaged = bytearray(pack.read_bytes())
    damaged[-5] ^= 1
    pack.write_bytes(damaged)
    with pytest.raises(CorruptError):
        ckpt_core.load(f"{store}@v0").to_torch()


def test_a_file_that_a_seal_lacks_gets_digests(tmp_path, store):
    folder = tmp_path / "run"
    ckpt_core.save({"model": weights(), "optimizer": {"lr": 0.1}}, folder, format="bundle")
    sealed = set(json.loads((folder / "ckpt.manifest.json").read_text())["files"])
    (folder / "notes.txt").write_bytes(b"added later")
    ckpt_core.publish(folder, store)
    ckpt_core.copy(f"{store}@v0", tmp_path / "out")
    made = set(json.loads((tmp_path / "out" / "ckpt.manifest.json").read_text())["files"])
    assert made == {*sealed, "notes.txt"}


def test_a_damaged_checkpoint_is_not_published(store, first):
    damaged = bytearray(first.read_bytes())
    damaged[-5] ^= 1
    first.write_bytes(damaged)
    with pytest.raises(CorruptError):
        ckpt_core.publish(first, store)
    with pytest.raises(CheckpointNotFoundError):
        ckpt_core.load(f"{store}@latest")


def test_tags_metrics_and_step_are_in_the_log(tmp_path, store):
    from ckpt_core.training import Checkpointer

    with Checkpointer(tmp_path / "run", model=torch.nn.Linear(3, 2)) as run:
        run.save(6)
        run.save(7, metrics={"val_loss": 0.5})
    ckpt_core.publish(f"{tmp_path}/run/checkpoint-7", store, tags=["first"], alias="best")
    ckpt_core.publish(saved(tmp_path / "b.safetensors", weights()), store, metrics={"val_loss": 0.25})
    one, other = ckpt_core.list_versions(store).versions
    assert (one.step, one.metrics, one.tags) == (7, {"val_loss": 0.5}, ("first",))
    assert one.lineage["parent"] == "checkpoint-6"
    assert other.metrics == {"val_loss": 0.25}
    assert ckpt_core.list_versions(store).aliases == {"best": 0}


def test_where_a_version_came_from_is_what_its_seal_says(tmp_path, store, first):
    ckpt_core.convert(first, tmp_path / "out.pth")
    ckpt_core.publish(tmp_path / "out.pth", store)
    (one,) = ckpt_core.list_versions(store).versions
    assert one.lineage["source"].endswith("a.safetensors")


def test_a_training_goes_on_from_a_version(tmp_path, store):
    from ckpt_core.training import Checkpointer, load_into

    model = torch.nn.Linear(3, 2)
    with Checkpointer(tmp_path / "run", model=model) as run:
        run.save(1)
    ckpt_core.publish(f"{tmp_path}/run/checkpoint-1", store)
    other = torch.nn.Linear(3, 2)
    load_into(other, f"{store}@latest")
    assert torch.equal(model.weight, other.weight)


def test_an_alias_moves_and_a_ref_follows_it(tmp_path, store, first):
    ckpt_core.publish(first, store, alias="best")
    ckpt_core.publish(saved(tmp_path / "b.safetensors", weights(1)), store)
    ckpt_core.set_alias(store, "best", "latest")
    assert str(ckpt_core.load(f"{store}@best").location).endswith("@v1")
    assert ckpt_core.set_alias(store, "best", 0).name == "v0"


@pytest.mark.parametrize("name", ["v3", "latest", "a/b", "", ".x"])
def test_a_name_that_means_something_else_is_no_alias(store, first, name):
    ckpt_core.publish(first, store)
    with pytest.raises(UsageError):
        ckpt_core.set_alias(store, name, "v0")
    assert not ckpt_core.list_versions(store).aliases


def test_a_version_that_is_not_there_is_one_clear_line(store, first):
    ckpt_core.publish(first, store, alias="best")
    with pytest.raises(CheckpointNotFoundError, match="no such version, there is v0, best"):
        ckpt_core.load(f"{store}@v9")
    with pytest.raises(UsageError, match="holds 1 versions, v0 to v0"):
        ckpt_core.load(store)


def test_a_lost_object_is_one_clear_line(store, first):
    ckpt_core.publish(first, store)
    shutil.rmtree(store / "objects")
    with pytest.raises(CorruptError, match="the store has lost this object") as raised:
        ckpt_core.load(f"{store}@v0")
    assert raised.value.code == "VS001"


@pytest.mark.parametrize("part", ["tables", "versions"])
def test_a_damaged_table_or_record_is_one_clear_line(store, first, part):
    ckpt_core.publish(first, store)
    (found,) = (store / part).iterdir()
    found.write_bytes(found.read_bytes()[:40])
    with pytest.raises(CorruptError) as raised:
        ckpt_core.load(f"{store}@v0")
    assert raised.value.code == "VS002"
    assert "\n" not in raised.value.message


def test_nothing_is_published_into_another_folder_or_into_the_checkpoint(tmp_path, first):
    with pytest.raises(OverwriteError):
        ckpt_core.publish(first, tmp_path)
    ckpt_core.save({"model": weights(), "optimizer": {"lr": 0.1}}, tmp_path / "run", format="bundle")
    with pytest.raises(OverwriteError, match="the checkpoint"):
        ckpt_core.publish(tmp_path / "run", tmp_path / "run" / "versions")


def test_a_file_with_an_at_in_its_name_is_that_file(tmp_path):
    path = tmp_path / "a@v3"
    saved(tmp_path / "a.safetensors", weights()).rename(path)
    assert len(ckpt_core.load(path).component().tensors) == 6


def test_publishing_needs_few_indexes(tmp_path, store):
    for number in range(9):
        ckpt_core.publish(saved(tmp_path / f"{number}.safetensors", weights(number, 2)), store)
    (record,) = (one for one in ckpt_core.list_versions(store).versions if one.number == 8)
    assert len(record.indexes) <= 4
    assert ckpt_core.publish(tmp_path / "0.safetensors", store).version.new == 0


def test_the_record_of_a_version_says_nothing_of_secrets(tmp_path, store, first):
    ckpt_core.publish(first, store)
    text = json.loads((store / "versions" / "0000000000.json").read_text())
    assert text["schema"] == "ckpt/version@1"
    assert text["source"] == str(first)


def test_two_that_publish_at_once_both_get_a_number(tmp_path, store, first, monkeypatch):
    """Another publishes between the look at the head and the put of the record."""
    second = saved(tmp_path / "b.safetensors", weights(1))
    ckpt_core.publish(first, store)
    third = saved(tmp_path / "c.safetensors", weights(2))
    real, met = publication.Publication.commit, []

    def commit(self, make):
        def other(head):
            if not met:
                met.append(None)
                met[0] = ckpt_core.publish(third, store)
            return make(head)

        return real(self, other)

    monkeypatch.setattr(publication.Publication, "commit", commit)
    done = ckpt_core.publish(second, store)
    assert (met[0].version.name, done.version.name) == ("v1", "v2")
    for name, seed in (("v0", 0), ("v1", 2), ("v2", 1)):
        found = ckpt_core.load(f"{store}@{name}").to_torch()
        assert torch.equal(found["layer.0.weight"], weights(seed)["layer.0.weight"])


def test_no_lease_is_left(store, first):
    ckpt_core.publish(first, store)
    assert not list((store / "leases").iterdir())
    assert open_version_store(str(store)).exists()


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_nothing_is_written_to_a_version_or_in_place_of_a_store(tmp_path, store, first, kind):
    ckpt_core.save({"model": weights(), "optimizer": {"lr": 0.1}}, tmp_path / "run", format="bundle")
    source = first if kind == "file" else tmp_path / "run"
    ckpt_core.publish(source, store)
    before = contents(tmp_path)
    version = f"{store}@v0"
    for write in (
        lambda: ckpt_core.seal(version, force=True),
        lambda: ckpt_core.repair(version, in_place=True),
        lambda: ckpt_core.convert(first, f"{version}.pth", to="torch"),
        lambda: ckpt_core.save({"model": weights()}, version, format="bundle", force=True),
        lambda: ckpt_core.copy(tmp_path / "run", store, force=True),
    ):
        with pytest.raises(OverwriteError, match="ckpt publish"):
            write()
    assert contents(tmp_path) == before


def test_a_version_of_one_store_is_published_to_another(tmp_path, store, first):
    ckpt_core.publish(first, store)
    done = ckpt_core.publish(f"{store}@v0", tmp_path / "other")
    assert done.version.source == f"{store}@v0"
    assert torch.equal(ckpt_core.load(done.ref).to_torch()["layer.0.weight"], weights()["layer.0.weight"])
    assert ckpt_core.publish(f"{store}@latest", store).already_there


def test_memory_does_not_grow_with_a_tensor(tmp_path, store, monkeypatch):
    import tracemalloc

    monkeypatch.setattr(storing, "_IN_MEMORY", 1 << 20)
    path = saved(tmp_path / "a.safetensors", {"large": torch.zeros(12 << 20)})
    ckpt_core.load(path)
    tracemalloc.start()
    try:
        ckpt_core.publish(path, store)
        assert tracemalloc.get_traced_memory()[1] < 36 << 20
    finally:
        tracemalloc.stop()
    assert ckpt_core.list_versions(store).versions[0].new >= 48 << 20


@pytest.mark.parametrize("how", ["is lost", "is damaged"])
def test_publishing_goes_on_without_an_index_and_says_so(tmp_path, store, first, caplog, how):
    ckpt_core.publish(first, store)
    (index,) = (store / "indexes").iterdir()
    index.unlink() if how == "is lost" else index.write_bytes(b"x")
    done = ckpt_core.publish(saved(tmp_path / "b.safetensors", {**weights(), "more": torch.ones(3)}), store)
    assert f"indexes/{index.name} {how}" in caplog.text
    assert f"indexes/{index.name}" not in done.version.indexes
    assert done.version.new > 6 * 16 * 8 * 4, "what it knew of is stored once more"
    assert ckpt_core.verify_versions(store).ok
    assert ckpt_core.publish(first, store).version.new < 1000


def test_tags_and_metrics_that_come_with_content_that_is_there_are_named_as_not_kept(store, first):
    ckpt_core.publish(first, store, tags=["a"], metrics={"loss": 1.0})
    done = ckpt_core.publish(first, store, tags=["a", "b"], metrics={"loss": 2.0, "bleu": 3.0}, alias="best")
    assert done.not_kept == ("tag b", "metric loss", "metric bleu")
    assert (done.version.name, done.version.tags, done.version.metrics) == ("v0", ("a",), {"loss": 1.0})
    assert ckpt_core.publish(first, store, tags=["a"]).not_kept == ()
