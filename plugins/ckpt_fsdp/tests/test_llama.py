"""Meta's own layout of LLaMA: parts merged by the model's rule where all sizes agree, and refused where they do not."""

import json
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ckpt_core

GENERATIONS = {"llama 2": 1, "llama 3": 0}
"""The dimension along which the embedding of tokens is cut."""


def sizes(width=4, heads=8, kv_heads=4, layers=2, vocab=24):
    dim = width * heads
    return {
        "dim": dim,
        "n_layers": layers,
        "n_heads": heads,
        "n_kv_heads": kv_heads,
        "vocab_size": vocab,
        "multiple_of": 8,
    }


def model(params):
    """The tensors of a model, as llama's model.py makes them, each with the dimension that its layer cuts."""
    dim, width = params["dim"], params["dim"] // params["n_heads"]
    keys = params["n_kv_heads"] * width
    hidden = params["multiple_of"] * -(-int(2 * (4 * dim) / 3) // params["multiple_of"])
    shapes = {"tok_embeddings.weight": ((params["vocab_size"], dim), "embedding"), "norm.weight": ((dim,), None)}
    shapes |= {"output.weight": ((params["vocab_size"], dim), 0), "rope.freqs": ((width // 2,), None)}
    for layer in range(params["n_layers"]):
        at = f"layers.{layer}."
        shapes |= {
            f"{at}attention.{w}.weight": ((rows, dim), 0) for w, rows in (("wq", dim), ("wk", keys), ("wv", keys))
        }
        shapes |= {f"{at}feed_forward.{w}.weight": ((hidden, dim), 0) for w in ("w1", "w3")}
        shapes |= {f"{at}attention.wo.weight": ((dim, dim), 1), f"{at}feed_forward.w2.weight": ((dim, hidden), 1)}
        shapes |= {f"{at}{norm}.weight": ((dim,), None) for norm in ("attention_norm", "ffn_norm")}
    return {name: (torch.randn(shape), axis) for name, (shape, axis) in shapes.items()}


def write(folder, params, ranks, embedding=1):
    """Save a part for each rank, and give the whole tensors."""
    tensors = model(params)
    for rank in range(ranks):
        part = {}
        for name, (tensor, axis) in tensors.items():
            cut = embedding if axis == "embedding" else axis
            part[name] = tensor if cut is None else tensor.chunk(ranks, cut)[rank].clone()
        torch.save(part, folder / f"consolidated.{rank:02d}.pth")
    (folder / "params.json").write_text(json.dumps(params))
    return {name: tensor for name, (tensor, _) in tensors.items()}


def findings(folder, depth=ckpt_core.Depth.LAYOUT):
    return ckpt_core.verify(str(folder), depth=depth).report.findings


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("embedding", GENERATIONS.values(), ids=GENERATIONS)
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_parts_become_the_model(tmp_path, ranks, embedding):
    whole = write(tmp_path, sizes(), ranks, embedding)
    checkpoint = ckpt_core.load(str(tmp_path))
    assert checkpoint.match.format == "llama"
    assert [component.label for component in checkpoint.manifest.components] == ["model", "config"]
    assert_equal(checkpoint.to_torch("model"), whole)
    assert findings(tmp_path, ckpt_core.Depth.BYTES) == ()


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("which", ["first", "last"])
def test_a_lost_part_is_an_error_that_names_it_and_nothing_is_written(tmp_path, ranks, which):
    folder = tmp_path / "model"
    folder.mkdir()
    write(folder, sizes(), ranks)
    gone = folder / f"consolidated.{0 if which == 'first' else ranks - 1:02d}.pth"
    gone.unlink()
    found = {(f.code, f.path) for f in findings(folder) if f.severity is ckpt_core.Severity.ERROR}
    assert ("PT005", gone.name) in found
    with pytest.raises(ckpt_core.CorruptError):
        ckpt_core.convert(str(folder), str(tmp_path / "out.safetensors"), components=["model"])


def test_parts_without_the_sizes_of_the_model_are_refused(tmp_path):
    write(tmp_path, sizes(), 2)
    (tmp_path / "params.json").unlink()
    with pytest.raises(ckpt_core.UnsupportedFormatError, match=r"no params\.json") as refused:
        ckpt_core.load(str(tmp_path))
    assert (refused.value.code, refused.value.exit_code) == ("PT006", 6)


WRONG = {
    "another width": {"dim": 64},
    "other heads for keys": {"n_kv_heads": 2},
    "another hidden size": {"multiple_of": 56},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_sizes_that_do_not_agree_are_refused(tmp_path, change):
    params = sizes()
    write(tmp_path, params, 2)
    (tmp_path / "params.json").write_text(json.dumps(params | change))
    with pytest.raises(ckpt_core.UnsupportedFormatError) as refused:
        ckpt_core.load(str(tmp_path))
    assert refused.value.code == "PT006"


def test_a_tensor_that_no_rule_places_is_refused_by_name(tmp_path):
    write(tmp_path, sizes(), 2)
    for rank in range(2):
        path = tmp_path / f"consolidated.{rank:02d}.pth"
        torch.save({**torch.load(path), "layers.0.experts.moe_w_in.weight": torch.ones(4, 4)}, path)
    with pytest.raises(ckpt_core.UnsupportedFormatError, match=r"layers\.0\.experts\.moe_w_in\.weight"):
        ckpt_core.load(str(tmp_path))


def test_copies_that_differ_are_found_by_their_bytes(tmp_path):
    write(tmp_path, sizes(), 2)
    path = tmp_path / "consolidated.01.pth"
    part = torch.load(path)
    torch.save({**part, "norm.weight": part["norm.weight"] + 1}, path)
    (found,) = findings(tmp_path, ckpt_core.Depth.BYTES)
    assert (found.code, found.tensor) == ("RK009", "norm.weight")


def test_a_broken_part_is_not_called_missing(tmp_path):
    write(tmp_path, sizes(), 2)
    path = tmp_path / "consolidated.01.pth"
    path.write_bytes(path.read_bytes()[:500])
    errors = [f for f in findings(tmp_path) if f.severity is ckpt_core.Severity.ERROR]
    assert path.name in {f.path for f in errors}
    assert "PT005" not in {f.code for f in errors}


@settings(max_examples=15, deadline=None)
@given(
    width=st.sampled_from([2, 4, 6]),
    heads=st.sampled_from([4, 8]),
    ranks=st.sampled_from([1, 2, 4]),
    layers=st.integers(1, 3),
    embedding=st.sampled_from([0, 1]),
)
def test_any_sizes_are_merged_into_what_was_cut(width, heads, ranks, layers, embedding):
    with tempfile.TemporaryDirectory() as folder:
        whole = write(Path(folder), sizes(width, heads, 4, layers), ranks, embedding)
        assert_equal(ckpt_core.load(folder).to_torch("model"), whole)
