"""`ckpt convert --base`: each flag by what it changes, and the table of what does not fit."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

WEIGHTS = {"a.weight": (2, 3), "b.weight": (4,), "patch.weight": (5, 12)}


def tensors(shapes, value):
    return {name: torch.full(shape, float(value)) for name, shape in shapes.items()}


@pytest.fixture
def base(tmp_path):
    """A model directory with a config, a tokenizer and an autoencoder; its weights are its average's."""
    folder = tmp_path / "base"
    folder.mkdir()
    save_file(tensors(WEIGHTS, 0), folder / "ema.safetensors")
    save_file({"x": torch.ones(1)}, folder / "ae.safetensors")
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    return folder


@pytest.fixture
def train(tmp_path):
    """A trainer's file: the model's weights are all 1, their average's all 2; the patches are a convolution."""

    def make(change=lambda state: None):
        shapes = {**WEIGHTS, "patch.weight": (5, 3, 2, 2)}
        state = {"model": tensors(shapes, 1), "ema": tensors(shapes, 2), "step": 3}
        change(state)
        torch.save(state, tmp_path / "train.pt")
        return tmp_path / "train.pt"

    return make


@pytest.fixture
def convert(ckpt, base, tmp_path):
    def run(source, *args, name="out"):
        return tmp_path / name, ckpt("convert", source, tmp_path / name, "--to", "hf", "--base", base, *args)

    return run


def test_base_gives_its_files_and_both_weights_and_says_what_was_done(convert, train, ckpt):
    out, done = convert(train())
    assert done.code == 0, done.err
    assert {path.name for path in out.iterdir()} >= {"config.json", "tokenizer.json", "ae.safetensors"}
    assert {name: set(load_file(out / f"{name}.safetensors")) for name in ("model", "ema")} == {
        name: set(WEIGHTS) for name in ("model", "ema")
    }
    assert "model: 3 tensors, as in the base's ema" in done.out
    assert "conv2d to linear: patch.weight  5x3x2x2 -> 5x12" in done.out
    assert "left out, as asked: progress" in done.out
    assert ckpt("diff", out, out).code == 0 and ckpt("verify", out, "--depth", "values").code == 0


def test_models_chooses_and_never_takes_one_for_the_other(convert, train):
    out, done = convert(train(), "--models", "ema")
    assert done.code == 0 and not (out / "model.safetensors").exists()
    assert load_file(out / "ema.safetensors")["a.weight"].unique().tolist() == [2]
    out, _ = convert(train(), "--models", "main", name="main")
    assert load_file(out / "model.safetensors")["a.weight"].unique().tolist() == [1]
    _, refused = convert(train(lambda state: state.pop("ema")), "--models", "ema", name="none")
    assert refused.code == 2 and "has no ema" in refused.err
    assert convert(train(), "--models", "half", name="none")[1].code == 2


def test_without_an_average_the_model_is_converted_and_that_is_said(convert, train):
    out, done = convert(train(lambda state: state.pop("ema")))
    assert done.code == 0, done.err
    assert load_file(out / "model.safetensors")["a.weight"].unique().tolist() == [1]
    assert not (out / "ema.safetensors").exists()
    assert "has no ema; the model alone was converted" in done.out
    assert "left out, as asked: progress" in done.out
    _, asked = convert(train(lambda state: state.pop("ema")), "--models", "both", name="none")
    assert asked.code == 2 and "has no ema" in asked.err
    _, lost = convert(train(lambda state: state.pop("model")), name="lost")
    assert lost.code == 2 and "--models ema" in lost.err


def test_a_distributed_checkpoint_without_an_average_is_converted_too(convert, tmp_path):
    from torch.distributed.checkpoint import FileSystemWriter, save

    with pytest.warns(UserWarning, match="single process"):
        save({"model": tensors(WEIGHTS, 1)}, storage_writer=FileSystemWriter(tmp_path / "dcp"), no_dist=True)
    _, done = convert(tmp_path / "dcp")
    assert done.code == 0, done.err
    assert "has no ema; the model alone was converted" in done.out


def test_dtype_is_of_every_tensor(convert, train):
    out, _ = convert(train(), "--dtype", "bf16", "--dtype", "b.*=f16")
    types = {name: tensor.dtype for name, tensor in load_file(out / "model.safetensors").items()}
    assert types == {"a.weight": torch.bfloat16, "b.weight": torch.float16, "patch.weight": torch.bfloat16}


def misfit(state):
    state["model"]["c.weight"] = torch.zeros(1)
    state["model"]["b.weight"] = torch.zeros(5)
    del state["model"]["a.weight"]


def test_what_does_not_fit_is_a_table_on_stderr_and_exit_4(convert, train):
    out, done = convert(train(misfit))
    assert (done.code, done.out) == (4, "") and not out.exists()
    lines = [" ".join(line.split()) for line in done.err.splitlines()]
    assert "model against the base's ema: 2 matched, 1 missing, 1 extra, 1 mismatched" in lines
    assert "missing a.weight" in lines and "extra c.weight" in lines
    assert "mismatched b.weight F32 5 F32 4" in lines
    assert any(line.startswith("ckpt: error CA006:") and "nothing was written" in line for line in lines)


def test_a_long_table_is_cut_and_counted(convert, train):
    def many(state):
        state["ema"] |= {f"more.{index}": torch.zeros(1) for index in range(25)}

    _, done = convert(train(many))
    assert "25 extra" in done.err and "… 15 more" in done.err and "more.24" not in done.err


def test_json_has_the_whole_table_and_what_fits_as_well(convert, train):
    def many(state):
        state["ema"] |= {f"more.{index}": torch.zeros(1) for index in range(25)}

    _, done = convert(train(many), "--json")
    content = json.loads(done.out)
    assert (content["ok"], content["exit"], done.err) == (False, 4, "")
    assert [finding["code"] for finding in content["findings"]] == ["CA006"]
    [structure] = content["result"]["structure"]
    assert structure["component"] == "ema" and len(structure["extra"]) == 25
    _, done = convert(train(), "--json")
    content = json.loads(done.out)["result"]
    assert content["base"].endswith("base") and [one["matched"] for one in content["structure"]] == [3, 3]
    assert content["structure"][0]["rearranged"] == {"patch.weight": "conv2d to linear"}


def test_optional_takes_from_the_base_and_leaves_out(convert, train):
    def change(state):
        for label in ("model", "ema"):
            del state[label]["b.weight"]
            state[label]["probe"] = torch.zeros(1)

    out, done = convert(train(change), "--optional", "b.*", "--optional", "probe", "--dtype", "bf16")
    assert done.code == 0 and "taken from the base, for the checkpoint lacks them: b.weight" in done.out
    assert "left out, for the base lacks them: probe" in done.out
    assert load_file(out / "ema.safetensors")["b.weight"].tolist() == [0] * 4


def test_exclude_and_rename_come_before_the_comparison(convert, train):
    def change(state):
        state["model"]["probe"] = torch.zeros(1)
        state["model"]["z.weight"] = state["model"].pop("a.weight")

    source = train(change)
    assert convert(source, "--models", "main")[1].code == 4
    assert convert(source, "--models", "main", "--exclude", "probe", "--rename", "z.=a.")[1].code == 0


def test_what_goes_only_with_a_base_or_only_without_is_refused(convert, train, ckpt, tmp_path):
    assert convert(train(), "--component", "model")[1].code == 2
    for flag in (("--models", "main"), ("--optional", "x")):
        done = ckpt("convert", train(), tmp_path / "x", "--to", "hf", *flag)
        assert done.code == 2 and "goes with --base" in done.err


def test_the_base_is_never_overwritten(train, ckpt, base, tmp_path):
    before = {path.name: path.read_bytes() for path in base.iterdir()}
    (tmp_path / "link").symlink_to(base)
    for place in (base, f"{base}/", base / "new", tmp_path / "link", tmp_path / "link" / "new"):
        done = ckpt("convert", train(), place, "--to", "hf", "--base", base, "--force")
        assert done.code == 9 and "the base model" in done.err, place
    assert {path.name: path.read_bytes() for path in base.iterdir()} == before


def test_dry_run_shows_how_it_fits(convert, train):
    out, done = convert(train(), "--dry-run")
    assert done.code == 0 and "conv2d to linear" in done.out and not out.exists()


def test_the_certificate_is_checked_with_the_base_where_that_is_now(convert, train, ckpt, base, tmp_path):
    out, _ = convert(
        train(lambda state: [state[label].pop("b.weight") for label in ("model", "ema")]), "--optional", "b.*"
    )
    assert ckpt("verify", out, "--certificate").code == 0
    moved = base.rename(tmp_path / "moved")
    assert ckpt("verify", out, "--certificate").code == 3
    assert ckpt("verify", out, "--certificate", "--base", moved).code == 0
    save_file(tensors(WEIGHTS, 5), moved / "ema.safetensors")
    done = ckpt("verify", out, "--certificate", "--base", moved)
    assert done.code == 4 and "CA003" in done.out and "b.weight" in done.out
    assert ckpt("verify", out, "--base", moved).code == 2
