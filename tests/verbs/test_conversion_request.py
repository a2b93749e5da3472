from dataclasses import FrozenInstanceError, fields

import pytest
import torch

import ckpt_core
from ckpt_core import BaseModel, DType, RunOptions, Selection, UsageError
from ckpt_core.verbs.conversion_request import Plain, gathered


@pytest.fixture
def place(tmp_path):
    ckpt_core.save({"model": {"a.w": torch.ones(2, 3), "b.w": torch.zeros(3)}, "step": 7}, tmp_path / "m.pt")
    return tmp_path / "m.pt"


def written(path):
    tensors = ckpt_core.load(path).component("model").tensors
    return {name: info.dtype.code for name, info in tensors.infos()}


def test_objects_and_keywords_say_the_same(place, tmp_path):
    asked = Selection(components="model", include=["a.*"], rename="a.=c.", dtypes="bf16")
    ckpt_core.convert(place, tmp_path / "1.safetensors", selection=asked, run=RunOptions(force=True))
    plain = {"components": "model", "include": ["a.*"], "rename": "a.=c.", "dtypes": "bf16", "force": True}
    ckpt_core.convert(place, tmp_path / "2.safetensors", **plain)
    assert written(tmp_path / "1.safetensors") == written(tmp_path / "2.safetensors") == {"c.w": "BF16"}


def test_objects_and_keywords_go_together_where_they_are_of_different_things(place, tmp_path):
    done = ckpt_core.convert(place, tmp_path / "o.safetensors", selection=Selection(components="model"), dry_run=True)
    assert done.report is None and not (tmp_path / "o.safetensors").exists()


def test_a_base_is_a_ref_or_an_object(place, tmp_path):
    base = tmp_path / "base.safetensors"
    ckpt_core.save({"a.w": torch.ones(2, 3), "b.w": torch.ones(3), "c.w": torch.ones(1)}, base)
    asked = BaseModel(ref=base, models="main", optional="c.*")
    ckpt_core.convert(place, tmp_path / "1.safetensors", base=asked)
    ckpt_core.convert(place, tmp_path / "2.safetensors", base=base, models="main", optional=["c.*"])
    assert ckpt_core.diff(tmp_path / "1.safetensors", tmp_path / "2.safetensors").identical
    assert set(written(tmp_path / "1.safetensors")) == {"a.w", "b.w", "c.w"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"selection": Selection(), "components": "model"}, "components=: goes into selection=, which is given too"),
        ({"run": RunOptions(), "force": True}, "force=: goes into run=, which is given too"),
        ({"base": BaseModel(ref="x"), "models": "ema"}, "models=: goes into the BaseModel that is given"),
        ({"optional": ["a"]}, "optional=: goes with base="),
        ({"base": "x", "components": "model"}, "components=: goes without base=; with one, choose with models="),
        ({"selection": {"components": "model"}}, "selection=: a Selection is needed, not {"),
        ({"run": True}, "run=: a RunOptions is needed, not True"),
        ({"component": "model"}, "component: convert has no such argument"),
        ({"dtypes": 7}, "'7': not a type"),
        ({"rename": "x"}, "'x': a rename rule is OLD=NEW"),
    ],
)
def test_what_does_not_go_together_is_said(place, tmp_path, given, said):
    with pytest.raises(UsageError) as refused:
        ckpt_core.convert(place, tmp_path / "o.safetensors", **given)
    assert said in str(refused.value)
    assert not (tmp_path / "o.safetensors").exists()


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Selection, {"components": [1]}),
        (Selection, {"include": b"a"}),
        (Selection, {"dtypes": None}),
        (BaseModel, {"ref": "x", "models": 3}),
        (RunOptions, {"force": "no"}),
        (RunOptions, {"max_memory": 0}),
        (RunOptions, {"progress": print}),
        (RunOptions, {"ranks": 2}),
    ],
)
def test_each_object_checks_what_it_is_given(kind, wrong):
    name = list(wrong)[-1]
    with pytest.raises(UsageError, match=f"{name}=: "):
        kind(**wrong)


def test_they_are_frozen_and_hold_tuples():
    asked = Selection(components="model", dtypes=DType.BF16)
    assert asked == Selection(components=["model"], dtypes=[DType.BF16])
    with pytest.raises(FrozenInstanceError):
        asked.components = ()


def test_every_attribute_is_a_keyword_too():
    own = {field.name for kind in (Selection, BaseModel, RunOptions) for field in fields(kind)}
    assert set(Plain.__annotations__) == own - {"ref"}
    assert gathered(None, None, None, {}) == (Selection(), None, RunOptions())
