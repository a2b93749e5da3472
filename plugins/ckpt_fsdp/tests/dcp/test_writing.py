"""What is written as `dcp`, read by torch's own loaders, and resharded from any number of ranks to any other."""

import pickle
import tempfile
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributed.checkpoint.filesystem import CURRENT_DCP_VERSION
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex, TensorProperties
from torch.distributed.checkpoint.state_dict_loader import _load_state_dict_from_keys

import ckpt_core
from ckpt_core.errors import UnsupportedFormatError, UsageError
from ckpt_core.reading.digests import fingerprint
from ckpt_core.verbs.convert import convert

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def trained():
    """A model and its optimizer after a step, and what trainers keep beside them."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Linear(7, 3, bias=False))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 5)).sum().backward()
    optimizer.step()
    weights = {**model.state_dict(), "scale": torch.tensor(2.0), "none": torch.empty(0, 3)}
    weights |= {"codes": torch.arange(9).to(torch.uint16), "half": torch.ones(4, 2).bfloat16()}
    return {"model": weights, "optimizer": optimizer.state_dict()}


def save(state, place, **options):
    return ckpt_core.save(state, str(place), format="dcp", options=options)


def everything_in(place):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _load_state_dict_from_keys(checkpoint_id=str(place))


def fingerprints(place):
    opened = ckpt_core.load(str(place))
    return {part.label: fingerprint(opened, part.label).digest for part in opened.manifest.components}


def assert_same(first, second):
    """Two trees have the same keys, values and tensors."""
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key, value in first.items():
            assert_same(value, second[key])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    elif isinstance(first, torch.Tensor):
        assert first.dtype == second.dtype
        assert torch.equal(first, second)
    else:
        assert first == second


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_dcp_load_fills_a_model_and_its_optimizer(ranks, tmp_path):
    state = trained()
    save(state, tmp_path / "out", ranks=ranks)
    moments = {str(number): dict(moments) for number, moments in state["optimizer"]["state"].items()}
    wanted = {"model": state["model"], "optimizer": {"state": moments}}
    empty = torch.utils._pytree.tree_map(torch.zeros_like, wanted)
    dcp.load(empty, checkpoint_id=str(tmp_path / "out"))
    assert_same(empty, wanted)


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_file_of_torch_made_of_it_is_what_torch_itself_would_have_made(ranks, tmp_path):
    state = {**trained(), "step": 7, "names": ["a", "b"], "pair": (1, torch.ones(2)), "note": None, "raw": b"\0\xff"}
    dcp.save(state, checkpoint_id=str(tmp_path / "theirs"))
    convert(str(tmp_path / "theirs"), str(tmp_path / "ours"), to="dcp", options={"ranks": str(ranks)})
    for name in ("theirs", "ours"):
        dcp_to_torch_save(str(tmp_path / name), str(tmp_path / f"{name}.pt"))
    theirs, ours = (torch.load(tmp_path / f"{name}.pt", weights_only=False) for name in ("theirs", "ours"))
    assert_same(ours, theirs)


def test_one_key_of_it_is_loaded_alone(tmp_path):
    state = trained()
    save(state, tmp_path / "out", ranks=2)
    found = _load_state_dict_from_keys("model", checkpoint_id=str(tmp_path / "out"))
    assert_same(found, {"model": state["model"]})


def test_its_metadata_is_made_of_torchs_own_classes(tmp_path):
    save({"model": {"w": torch.ones(5, 2)}}, tmp_path / "out", ranks=2)
    with open(tmp_path / "out" / ".metadata", "rb") as file:
        found = pickle.load(file)
    assert type(found) is Metadata
    described = found.state_dict_metadata["model.w"]
    assert described.size == torch.Size([5, 2])
    assert described.properties == TensorProperties(dtype=torch.float32)
    assert [tuple(chunk.sizes) for chunk in described.chunks] == [(3, 2), (2, 2)]
    assert found.planner_data == {"model.w": ("model", "w")}
    index = MetadataIndex("model.w", (3, 0))
    assert found.storage_data[index].relative_path == "__1_0.distcp"
    assert found.version == CURRENT_DCP_VERSION


@pytest.mark.long
def test_ranks_of_any_number_load_it_into_sharded_models(torchrun, tmp_path):
    save(trained(), tmp_path / "out", ranks=3)
    torch.save(trained(), tmp_path / "whole.pt")
    torchrun("dcp_load_sharded.py", 2, tmp_path / "out", tmp_path / "whole.pt")


def test_flat_keys_have_no_model_before_them(tmp_path):
    weights = trained()["model"]
    save(weights, tmp_path / "flat", flat=True)
    save(weights, tmp_path / "nested")
    assert_same(everything_in(tmp_path / "flat"), weights)
    assert_same(everything_in(tmp_path / "nested"), {"model": weights})
    assert fingerprints(tmp_path / "flat") == fingerprints(tmp_path / "nested")


def test_flat_keys_of_several_components_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"options\['flat'\]: of several components"):
        save(trained(), tmp_path / "out", flat=True)


def test_no_ranks_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"options=\{'ranks': 0\}"):
        save(trained(), tmp_path / "out", ranks=0)


def test_resharding_keeps_the_keys_that_a_trainer_loads_by(tmp_path):
    """Keys at the top that are ours by another name, weights beside them, and the wrapper of PyTorch's recipes."""
    state = trained()
    layouts = {
        "titan": {**state["model"], "optimizer": state["optimizer"], "lr_scheduler": {"last_epoch": 3}, "step": 4},
        "recipe": {"app": {"model": state["model"], "optim": state["optimizer"]}},
    }
    for name, saved in layouts.items():
        dcp.save(saved, checkpoint_id=str(tmp_path / name))
        convert(str(tmp_path / name), str(tmp_path / f"{name}4"), to="dcp", options={"ranks": "4"})
        convert(str(tmp_path / f"{name}4"), str(tmp_path / f"{name}2"), to="dcp", options={"ranks": "2"})
        assert_same(everything_in(tmp_path / f"{name}2"), everything_in(tmp_path / name))


def test_resharding_keeps_what_lies_beside_the_shards(tmp_path):
    save(trained(), tmp_path / "one")
    (tmp_path / "one" / "metadata.json").write_text("{}")
    done = convert(str(tmp_path / "one"), str(tmp_path / "two"), to="dcp", options={"ranks": "2"})
    assert (tmp_path / "two" / "metadata.json").read_text() == "{}"
    assert done.assets_left == ()


shapes = st.lists(st.integers(0, 6), max_size=3).map(tuple)


@settings(max_examples=25, deadline=None)
@given(st.lists(shapes, min_size=1, max_size=4), st.integers(1, 6), st.integers(1, 6))
def test_resharding_changes_no_tensor(shapes, before, after):
    weights = {f"t{n}": torch.arange(torch.Size(shape).numel()).reshape(shape) for n, shape in enumerate(shapes)}
    state = {"model": weights, "optimizer": {"state": {0: {"exp_avg": torch.rand(shapes[0])}}, "param_groups": [{}]}}
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "first"), Path(folder, "second")
        save(state, first, ranks=before)
        convert(str(first), str(second), to="dcp", options={"ranks": str(after)})
        assert fingerprints(second) == fingerprints(first)
        found = ckpt_core.load(str(second))
        for name, tensor in weights.items():
            assert bytes(found.read("model", name)) == tensor.numpy().tobytes()
        used = {int(path.name.split("_")[2]) for path in second.glob("__*.distcp")}
        assert used <= set(range(after))


@pytest.mark.parametrize("name", ["m.safetensors", "m.pth", "m"])
def test_any_format_becomes_dcp_and_back(name, tmp_path):
    weights = {key: value for key, value in trained()["model"].items() if key != "codes"}
    source = str(tmp_path / name)
    ckpt_core.save(weights, source, format="hf" if name == "m" else None)
    convert(source, str(tmp_path / "dcp"), to="dcp", options={"ranks": "3"})
    convert(str(tmp_path / "dcp"), str(tmp_path / "back.safetensors"))
    assert fingerprints(tmp_path / "dcp") == fingerprints(source) == fingerprints(tmp_path / "back.safetensors")


def test_state_of_numbered_parameters_comes_back_with_numbers(tmp_path):
    """Torch makes texts of them and drops what is empty; optimizers ask for numbers."""
    optimizer = {"state": {}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]}
    states = {"adam": trained()["optimizer"], "sgd": optimizer}
    for name, state in states.items():
        save({"model": trained()["model"], "optimizer": state, "scaler": {}}, tmp_path / name, ranks=2)
        convert(str(tmp_path / name), str(tmp_path / f"{name}.pt"))
        found = torch.load(tmp_path / f"{name}.pt", weights_only=True)
        assert_same(found["optimizer"], state)
        assert found["scaler"] == {}


@pytest.mark.parametrize("state", [{1: 2, "1": 3}, {"a.b": 1, "a": {"b": 2}}, {"x": {None: 1}}])
def test_state_that_flat_keys_cannot_tell_apart_is_refused(state, tmp_path):
    with pytest.raises(UnsupportedFormatError, match="components="):
        save({"model": {"w": torch.ones(2)}, "scheduler": state}, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_tied_tensors_are_stored_once_and_found_under_both_names(tmp_path):
    tied = torch.rand(1000, 10)
    save({"model": {"embed": tied, "head": tied}}, tmp_path / "out", ranks=2)
    assert sum(path.stat().st_size for path in (tmp_path / "out").glob("*.distcp")) < 1.2 * tied.nbytes
    assert_same(everything_in(tmp_path / "out"), {"model": {"embed": tied, "head": tied}})


def test_a_cast_on_the_way_is_cut_like_the_rest(tmp_path):
    weights = {"w": torch.rand(300, 1000)}
    save({"model": weights}, tmp_path / "f32", ranks=3)
    done = convert(str(tmp_path / "f32"), str(tmp_path / "bf16"), to="dcp", dtypes=["bf16"], options={"ranks": "2"})
    assert done.report.cast == 1
    assert_same(everything_in(tmp_path / "bf16"), {"model": {"w": weights["w"].bfloat16()}})
