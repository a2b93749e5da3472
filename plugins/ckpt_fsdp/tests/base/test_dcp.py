"""Four ranks train under FSDP2 and save with stock DCP; one process makes a model directory of what they saved."""

import pytest
import torch
from safetensors.torch import load_file

import ckpt_core
from ckpt_core import Depth
from ckpt_core.verbs.certify import certify
from ckpt_core.verbs.convert import convert

LABELS = ("model", "ema")


@pytest.fixture
def saved(made):
    """A directory that stock DCP wrote, and the whole weights as the ranks gathered them."""
    folder = made("bagel_dcp_save.py", 4)
    return folder / "dcp", torch.load(folder / "expected.pt", weights_only=True)


@pytest.fixture
def published(tiny_bagel):
    """Trained weights as they are published: the patch embedding a linear map."""

    def make(state):
        conv = state[tiny_bagel.PATCH_EMBEDDING]
        return {**state, tiny_bagel.PATCH_EMBEDDING: conv.permute(0, 2, 3, 1).reshape(len(conv), -1).contiguous()}

    return make


def test_what_four_ranks_saved_is_read_proved_and_has_three_components(saved):
    place, expected = saved
    found = {component.label: component for component in ckpt_core.load(str(place)).manifest.components}
    assert {"model", "ema", "optimizer"} <= found.keys()
    assert ckpt_core.verify(str(place), depth=Depth.VALUES).report.ok
    tensors = ckpt_core.load(str(place)).to_torch("ema")
    assert all(torch.equal(tensors[name], expected["ema"][name]) for name in expected["ema"])


def test_main_and_average_are_those_that_were_saved_by_fingerprint(saved, published, base_model, tmp_path):
    place, expected = saved
    done = convert(str(place), str(tmp_path / "out"), to="hf", base=str(base_model), models="both")
    for label in LABELS:
        same = ckpt_core.save(published(expected[label]), str(tmp_path / f"{label}.safetensors"))
        assert done.report.components[label] == same.components["model"]
    assert done.report.components["model"] != done.report.components["ema"]
    assert certify(str(tmp_path / "out")) == []
    assert ckpt_core.verify(str(tmp_path / "out"), depth=Depth.VALUES).report.findings == ()


def test_opened_again_each_gives_the_outputs_it_gave_before(saved, tiny_bagel, base_model, tmp_path):
    place, expected = saved
    convert(str(place), str(tmp_path / "out"), to="hf", base=str(base_model), dtypes=["BF16"])
    found = {}
    for label in LABELS:
        trained = tiny_bagel.TinyBagel(linear=False)
        trained.load_state_dict(expected[label])
        before = tiny_bagel.answers(trained.bfloat16())
        found[label] = tiny_bagel.answers(tiny_bagel.open_published(tmp_path / "out", f"{label}.safetensors"))
        for wanted, given in zip(before, found[label], strict=True):
            assert torch.allclose(wanted, given, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found["model"][0], found["ema"][0], atol=1e-2)
    assert {t.dtype for t in load_file(tmp_path / "out" / "ema.safetensors").values()} == {torch.bfloat16}


@pytest.mark.parametrize("layout", ["bagel-sharded", "bagel-ranks", "bagel-fsdp2"])
def test_each_layout_of_bagels_trainers_becomes_the_same_directory(made, saved, base_model, tmp_path, layout):
    how = {"to": "hf", "base": str(base_model), "dtypes": ["BF16"]}
    convert(str(saved[0]), str(tmp_path / "known"), **how)
    convert(str(made("bagel_dcp_save.py", 4) / layout), str(tmp_path / "out"), **how)
    for path in (tmp_path / "known").iterdir():
        if path.name != "ckpt.manifest.json":  # it says where from
            assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes(), path.name
