"""Bundles: plain state comes back as it was, other tools open the weights, and what is broken is named."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

import ckpt_core
from ckpt_core.errors import CkptError, CorruptError, UnsupportedFormatError
from ckpt_core.layouts import checkpoint_of
from ckpt_core.storage.sealing import read_seal
from ckpt_core.training import state_dict

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.binary(max_size=9),
    st.just(math.inf),
)
KEYS = st.one_of(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), st.integers(), st.just("$tuple"))
STATES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.tuples(inner, inner), st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=12,
)


def weights():
    return {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2, dtype=torch.bfloat16)}


def optimizer():
    module = torch.nn.Linear(3, 2)
    made = torch.optim.AdamW(module.parameters())
    module(torch.ones(1, 3)).sum().backward()
    made.step()
    return made.state_dict()


def training(**more):
    state = {
        "model": weights(),
        "optimizer": optimizer(),
        "scheduler": {"last_epoch": 3},
        "rng": {"cpu": torch.get_rng_state()},
    }
    return {**state, "sampler": {"epoch": 1, "position": 40}, "progress": {"global_step": 7}, **more}


def saved(folder, state=None):
    ckpt_core.save(state or training(), folder / "checkpoint-7", format="bundle")
    return folder / "checkpoint-7"


@settings(max_examples=40)
@given(state=st.dictionaries(st.text("abc", min_size=1, max_size=5), STATES, min_size=1, max_size=4))
def test_plain_state_comes_back_as_it_was(tmp_path_factory, state):
    folder = tmp_path_factory.mktemp("state")
    place = saved(folder, {"model": weights(), "scheduler": {"own": state}, "progress": {"step": 1}})
    assert state_dict(place, "scheduler") == {"own": state}
    assert repr(state_dict(place, "scheduler")) == repr({"own": state}), "types or the order of keys changed"


def test_a_whole_training_is_complete_and_opens_elsewhere(tmp_path):
    place = saved(tmp_path)
    found = ckpt_core.verify(str(place), depth="values", profile="exact-resume")
    assert found.report.assessment.verdict.value == "COMPLETE", found.report
    assert found.report.findings == ()
    opened = load_file(place / "model.safetensors")
    assert {name: tensor.dtype for name, tensor in opened.items()} == {
        "a.weight": torch.float32,
        "a.bias": torch.bfloat16,
    }
    assert opened["a.weight"].equal(weights()["a.weight"])
    assert ckpt_core.load(str(place)).manifest.step == 7
    assert read_seal(ckpt_core.list_files(str(place))) is not None


def test_no_file_of_it_is_a_pickle_or_an_archive(tmp_path):
    names = {path.name for path in saved(tmp_path).iterdir()}
    assert {name.rpartition(".")[2] for name in names} == {"safetensors", "json", "blocks"}
    assert "optimizer.state.json" in names and "progress.state.json" in names and "rng.safetensors" in names
    for path in (tmp_path / "checkpoint-7").iterdir():
        assert path.read_bytes()[:2] not in (b"PK", b"\x80\x02", b"\x80\x04")


def test_each_file_of_tensors_says_by_itself_what_it_is(tmp_path):
    place = saved(tmp_path)
    assert [part.label for part in ckpt_core.load(str(place / "optimizer.safetensors")).manifest.components] == [
        "optimizer"
    ]


@pytest.mark.parametrize("name", ["critic", "a/b", "../x", "ü", "with space", "x" * 300, "-2", "a.b"])
def test_components_may_have_any_name(tmp_path, name):
    state = training(
        **{f"model:{name}": {"w": torch.ones(2)}, f"optimizer:{name}": {"state": {0: {"m": torch.ones(1)}}}}
    )
    place = saved(tmp_path, state)
    assert {path.parent for path in place.rglob("*") if path.is_file()} == {place}
    assert state_dict(place, f"model:{name}")["w"].equal(torch.ones(2))
    assert state_dict(place, f"optimizer:{name}")["state"][0]["m"].equal(torch.ones(1))


def test_small_arrays_and_odd_values_come_back(tmp_path):
    place = saved(
        tmp_path, {"model": weights(), "scheduler": {"b": b"\0\xff", "nan": math.nan, "keys": {0: 1, None: 2}}}
    )
    found = state_dict(place, "scheduler")
    assert found["b"] == b"\0\xff" and math.isnan(found["nan"]) and found["keys"] == {0: 1, None: 2}


def test_what_a_trainer_saved_becomes_a_bundle_with_everything_in_it(tmp_path):
    folder = tmp_path / "checkpoint-2"
    folder.mkdir()
    ckpt_core.save(weights(), folder / "model.safetensors")
    torch.save(optimizer(), folder / "optimizer.pt")
    rng = {"python": (3, tuple(range(625)), None), "numpy": np.random.get_state(), "cpu": torch.get_rng_state()}
    torch.save(rng, folder / "rng_state.pth")
    (folder / "config.json").write_text('{"model_type": "llama", "hidden_size": 3}')
    (folder / "trainer_state.json").write_text('{"global_step": 2, "epoch": 0.5}')
    ckpt_core.convert(str(folder), str(tmp_path / "b"), to="bundle")
    assert ckpt_core.load(str(tmp_path / "b")).match.format == "bundle", (
        "config.json beside it makes it no model of HF's"
    )
    assert (tmp_path / "b" / "config.json").read_bytes() == (folder / "config.json").read_bytes()
    assert state_dict(tmp_path / "b", "rng")["python"] == rng["python"]
    assert np.array_equal(state_dict(tmp_path / "b", "rng")["numpy"][1], rng["numpy"][1])
    assert ckpt_core.diff(str(folder), str(tmp_path / "b")).identical
    ckpt_core.convert(str(tmp_path / "b"), str(tmp_path / "c"), to="bundle")
    second = {path.name: path.read_bytes() for path in (tmp_path / "c").iterdir() if not path.name.startswith("ckpt.")}
    assert second == {name: (tmp_path / "b" / name).read_bytes() for name in second}


def broken(place, what):
    """Break a bundle whose seal is lost: with it, the seal says so first."""
    (place / "ckpt.manifest.json").unlink()
    index = json.loads((place / "bundle.json").read_text())
    if what == "no file of tensors":
        (place / "optimizer.safetensors").unlink()
    elif what == "no file of state":
        (place / "optimizer.state.json").unlink()
    elif what == "a state that is cut":
        (place / "optimizer.state.json").write_text((place / "optimizer.state.json").read_text()[:-20])
    elif what == "a state that names another tensor":
        text = (place / "optimizer.state.json").read_text()
        (place / "optimizer.state.json").write_text(text.replace("state.0.exp_avg_sq", "state.9.exp_avg_sq"))
    elif what == "a path that leads out":
        index["components"]["optimizer"]["state"] = "../optimizer.state.json"
        (place / "bundle.json").write_text(json.dumps(index))
    elif what == "a tag that is none":
        (place / "optimizer.state.json").write_text('{"state": {"$call": ["os.system", "true"]}}')


BROKEN = {
    "no file of tensors": "BU002",
    "no file of state": "BU002",
    "a state that is cut": "BU001",
    "a state that names another tensor": "BU001",
    "a path that leads out": "BU002",
    "a tag that is none": "BU001",
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_component_is_named_and_the_others_are_read(tmp_path, what):
    place = saved(tmp_path)
    broken(place, what)
    report = ckpt_core.verify(str(place), profile="resume").report
    assert BROKEN[what] in {finding.code for finding in report.findings}
    assert report.assessment.verdict.value == "CORRUPT"
    with pytest.raises(CkptError, match="optimizer"):
        state_dict(place, "optimizer")
    assert state_dict(place, "sampler") == {"epoch": 1, "position": 40}


def rewritten(place, **changes):
    index = json.loads((place / "bundle.json").read_text())
    (place / "bundle.json").write_text(json.dumps({**index, **changes}))


def test_a_newer_version_is_refused_with_the_next_step(tmp_path):
    place = saved(tmp_path)
    rewritten(place, version=2)
    with pytest.raises(UnsupportedFormatError, match="upgrade ckpt-core") as caught:
        ckpt_core.load(str(place))
    assert caught.value.code == "BU003"


@pytest.mark.parametrize("changes", [{"version": "1"}, {"components": []}, {"components": {"nonsense": {}}}])
def test_an_index_that_breaks_its_rules_is_refused(tmp_path, changes):
    place = saved(tmp_path)
    rewritten(place, **changes)
    with pytest.raises(CorruptError) as caught:
        ckpt_core.load(str(place))
    assert caught.value.code == "BU001"


def test_an_asset_never_takes_the_place_of_a_file_of_the_bundle(tmp_path):
    place = saved(tmp_path)
    (place / "scheduler.safetensors").write_bytes(b"somebody's notes")
    checkpoint = ckpt_core.load(str(place))
    assert "scheduler.safetensors" in {asset.path for asset in checkpoint.manifest.assets}
    state = checkpoint_of(training(scheduler={"last_epoch": 3, "t": torch.ones(1)}))
    state.manifest = type(state.manifest)(state.manifest.components, checkpoint.manifest.assets)
    with pytest.raises(UnsupportedFormatError, match=r"scheduler\.safetensors.*rename"):
        ckpt_core.save(state, tmp_path / "again", format="bundle")
