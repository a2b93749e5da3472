"""Indexes made again from the headers of shards, and everything of which that cannot be done."""

import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

import ckpt_core
from ckpt_core import Depth, Operation, Profile, repair, undo_repair
from ckpt_core.reading.digests import fingerprint

INDEX = "model.safetensors.index.json"


def index_of(folder, name=INDEX):
    return json.loads((folder / name).read_text())


def shards_of(folder):
    return sorted(path.name for path in folder.glob("*.safetensors"))


def digest(folder):
    return fingerprint(ckpt_core.load(str(folder)), "model").digest


def mended(folder):
    """The directory mended in place: clean, and without anything left to do."""
    done = repair(str(folder), in_place=True)
    assert done.applied and done.after.worst == 0, done
    assert not repair(str(folder), in_place=True).plan.actions
    return folder


def reasons(folder):
    done = repair(str(folder))
    assert not done.plan.actions
    return {one.path: one.reason for one in done.remaining}


def drop_index(folder):
    (folder / INDEX).unlink()


def empty_index(folder):
    (folder / INDEX).write_bytes(b"")


def half_an_index(folder):
    data = (folder / INDEX).read_bytes()
    (folder / INDEX).write_bytes(data[: len(data) // 2])


def lying_map(folder):
    content = index_of(folder)
    first, *_, last = sorted(set(content["weight_map"].values()))
    content["weight_map"] = {name: last if path == first else path for name, path in content["weight_map"].items()}
    (folder / INDEX).write_text(json.dumps(content))


def forgotten_tensors(folder):
    content = index_of(folder)
    content["weight_map"].popitem()
    (folder / INDEX).write_text(json.dumps(content))


def wrong_totals(folder):
    content = index_of(folder)
    content["metadata"] = {"total_size": 1, "total_parameters": 10**9}
    (folder / INDEX).write_text(json.dumps(content))


def index_of_other_names(folder):
    """As one that was copied from the base model, which had more shards."""
    content = index_of(folder)
    content["weight_map"] = dict.fromkeys(content["weight_map"], "model-00001-of-00099.safetensors")
    (folder / INDEX).write_text(json.dumps(content))


BREAKS = [drop_index, empty_index, half_an_index, lying_map, forgotten_tensors, wrong_totals, index_of_other_names]


@pytest.mark.parametrize("damage", BREAKS, ids=lambda damage: damage.__name__)
def test_an_index_is_made_again_as_transformers_wrote_it(sharded, damage):
    before, whole = index_of(sharded), digest(sharded)
    damage(sharded)
    mended(sharded)
    assert index_of(sharded)["weight_map"] == before["weight_map"]
    assert index_of(sharded)["metadata"]["total_size"] == before["metadata"]["total_size"]
    assert digest(sharded) == whole


@pytest.mark.parametrize("damage", BREAKS, ids=lambda damage: damage.__name__)
def test_undo_brings_the_broken_index_back(sharded, damage):
    damage(sharded)
    broken = {path.name: path.read_bytes() for path in sharded.iterdir()}
    mended(sharded)
    assert undo_repair(str(sharded)) == [INDEX]
    assert {path.name: path.read_bytes() for path in sharded.iterdir()} == broken


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damages=st.lists(st.sampled_from(BREAKS), min_size=1, max_size=3), cut=st.integers(0, 4), seal=st.booleans())
def test_what_is_repaired_verifies_cleaner_and_holds_the_same_tensors(sharded, tmp_path, damages, cut, seal):
    folder, out = shutil.copytree(sharded, tmp_path / "case"), tmp_path / "out"
    try:
        whole = digest(folder)
        if seal:
            from ckpt_core.verbs.seal import seal as seal_it

            seal_it(str(folder))
        for damage in damages:
            try:
                damage(folder)
            except (OSError, ValueError, KeyError, IndexError):
                continue  # there is no index any more to be damaged otherwise
        if cut:
            (folder / shards_of(folder)[-1]).unlink()
        done = repair(str(folder), output=str(out))
        weight = lambda report: sorted(finding.severity for finding in report.findings)  # noqa: E731
        if done.applied:
            assert sum(weight(done.after)) < sum(weight(done.before))
            assert digest(out) == whole
            assert ckpt_core.verify(str(out), depth=Depth.BYTES).report.ok
            assert not repair(str(out)).plan.actions
        else:
            assert cut or done.before.worst == 0
            assert not out.exists()
    finally:
        shutil.rmtree(folder)
        shutil.rmtree(out, ignore_errors=True)


def test_transformers_opens_what_was_mended_with_equal_logits(sharded, llama):
    import torch

    lying_map(sharded)
    opened = AutoModelForCausalLM.from_pretrained(mended(sharded))
    tokens = torch.arange(6)[None]
    assert torch.equal(opened(tokens).logits, llama(tokens).logits)


def test_the_index_of_bin_shards_is_made_again(as_bin, llama, tmp_path):
    folder = as_bin(llama, tmp_path / "bin", max_shard_size="12KB")
    name = "pytorch_model.bin.index.json"
    before = index_of(folder, name)
    (folder / name).unlink()
    assert index_of(mended(folder), name)["weight_map"] == before["weight_map"]


def test_the_index_of_a_variant_has_the_name_that_transformers_gives_it(sharded):
    for path in [*sharded.glob("*.safetensors"), sharded / INDEX]:
        stem, _, rest = path.name.partition("model")
        name = "model.safetensors.index.fp16.json" if path.name == INDEX else f"{stem}model.fp16{rest}"
        path.rename(path.with_name(name))
    (sharded / "model.safetensors.index.fp16.json").unlink()
    assert [action.path for action in repair(str(sharded)).plan.actions] == ["model.safetensors.index.fp16.json"]


def test_a_missing_shard_is_in_no_other_file(sharded):
    lost = shards_of(sharded)[1]
    (sharded / lost).unlink()
    assert reasons(sharded) == {lost: "what it held is in no other file here; copy it from where the model came from"}
    drop_index(sharded)
    assert "do not say that they are all there were" in " ".join(reasons(sharded).values())


def test_a_tensor_that_the_index_promises_and_no_file_holds_is_not_forgotten(sharded):
    content = index_of(sharded)
    content["weight_map"]["model.lost.weight"] = shards_of(sharded)[0]
    (sharded / INDEX).write_text(json.dumps(content))
    assert "no file holds model.lost.weight" in reasons(sharded)[shards_of(sharded)[0]]


def test_of_two_files_with_one_tensor_none_is_chosen(sharded):
    first, second, *_ = shards_of(sharded)
    shutil.copy(sharded / first, sharded / second)
    drop_index(sharded)
    assert any("two files hold the same tensor" in reason for reason in reasons(sharded).values())


def test_a_shard_that_does_not_open_is_named(sharded):
    last = shards_of(sharded)[-1]
    (sharded / last).write_bytes(b"\0" * 9)
    lying_map(sharded)
    assert any(f"{last} does not open" in reason for reason in reasons(sharded).values())


def test_a_file_that_nothing_names_is_removed_only_where_loss_is_accepted(sharded):
    stale = sharded / "model-00001-of-00002.safetensors"
    shutil.copy(sharded / shards_of(sharded)[0], stale)
    content = stale.read_bytes()
    told = repair(str(sharded), in_place=True)
    assert not told.applied and [action.operation for action in told.plan.withheld] == [Operation.REMOVE]
    assert stale.exists()
    repair(str(sharded), in_place=True, accept_loss=True)
    assert not stale.exists()
    undo_repair(str(sharded))
    assert stale.read_bytes() == content


def test_a_shard_that_a_lying_index_leaves_out_is_never_taken_for_stale(sharded):
    lying_map(sharded)
    done = repair(str(sharded), accept_loss=True)
    assert [(action.operation, action.path) for action in done.plan.actions] == [(Operation.WRITE, INDEX)]


@pytest.mark.parametrize("name", ["rng_state.pth", "optimizer.pt", "scheduler.pt"])
def test_what_a_trainer_did_not_save_is_not_made_up(made, copy_of, name):
    folder = copy_of(made("trainer_runs.py") / "full" / "checkpoint-4")
    (folder / name).unlink()
    before = sorted(path.name for path in folder.iterdir())
    done = repair(str(folder), in_place=True, accept_loss=True, profile=Profile.EXACT_RESUME)
    assert not done.applied
    assert any(one.path == name and "cannot be recovered" in one.reason for one in done.remaining)
    assert sorted(path.name for path in folder.iterdir()) == before
