"""`ckpt convert`: each flag by what it changes, and what is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file


@pytest.fixture
def convert(ckpt, files, tmp_path):
    """Converts a file of the shared folder into `tmp_path`; the place comes back with how it ended."""

    def run(source, name, *args):
        return tmp_path / name, ckpt("convert", files / source, tmp_path / name, *args)

    return run


def test_the_suffix_tells_the_format_and_the_result_is_equal(convert, ckpt, files):
    place, done = convert("weights.safetensors", "x.pth")
    assert done.code == 0, done.err
    assert "2 tensors read back and equal; sealed" in done.out
    assert ckpt("diff", files / "weights.safetensors", place).code == 0
    assert torch.load(place, weights_only=True)["embed.weight"].tolist() == torch.arange(12.0).reshape(3, 4).tolist()


def test_to_names_the_format(convert):
    place, done = convert("weights.pth", "without_suffix", "--to", "safetensors")
    assert done.code == 0 and len(load_file(place)) == 2
    assert convert("weights.pth", "another")[1].code == 2, "nothing tells the format"


def test_component_chooses_and_what_is_left_out_is_said(convert):
    place, done = convert("training.pth", "model.safetensors", "--component", "model")
    assert done.code == 0 and set(load_file(place)) == {"weight", "bias"}
    assert "left out, as asked: optimizer" in done.out
    _, refused = convert("training.pth", "all.safetensors")
    assert refused.code == 2 and "--component" in refused.err


def test_dtype_casts_and_a_pattern_narrows_it(convert):
    place, done = convert("weights.safetensors", "half.safetensors", "--dtype", "f16")
    assert {tensor.dtype for tensor in load_file(place).values()} == {torch.float16}
    assert "2 of them as cast" in done.out
    place, _ = convert("weights.safetensors", "mixed.safetensors", "--dtype", "bf16", "--dtype", "embed.*=f64")
    assert {name: tensor.dtype for name, tensor in load_file(place).items()} == {
        "embed.weight": torch.float64,
        "norm.weight": torch.bfloat16,
    }
    assert convert("weights.safetensors", "no.safetensors", "--dtype", "i8")[1].code == 2
    assert convert("weights.safetensors", "no.safetensors", "--dtype", "what")[1].code == 2


def test_include_and_exclude_choose_tensors(convert):
    place, _ = convert("weights.safetensors", "in.safetensors", "--include", "embed.*")
    assert list(load_file(place)) == ["embed.weight"]
    place, _ = convert("weights.safetensors", "out.safetensors", "--exclude", "embed.*")
    assert list(load_file(place)) == ["norm.weight"]
    assert convert("weights.safetensors", "none.safetensors", "--include", "nothing")[1].code == 2


def test_rename_changes_prefixes(convert):
    place, _ = convert("weights.safetensors", "x.safetensors", "--rename", "embed.=wte.")
    assert set(load_file(place)) == {"wte.weight", "norm.weight"}
    assert convert("weights.safetensors", "y.safetensors", "--rename", "nonsense")[1].code == 2
    clash = convert("weights.safetensors", "z.safetensors", "--rename", "embed.=norm.")[1]
    assert clash.code == 2 and "would both be named norm.weight" in clash.err


def test_dry_run_writes_nothing(convert, tmp_path):
    place, done = convert("weights.safetensors", "x.pth", "--dry-run")
    assert done.code == 0 and "nothing was written" in done.out
    assert not place.exists() and list(tmp_path.iterdir()) == []


def test_force_replaces_and_without_it_nothing_is_touched(convert):
    place, _ = convert("weights.safetensors", "x.safetensors")
    before = place.read_bytes()
    _, refused = convert("changed.safetensors", "x.safetensors")
    assert refused.code == 9 and place.read_bytes() == before
    assert convert("changed.safetensors", "x.safetensors", "--force")[1].code == 0
    assert set(load_file(place)) == {"embed.weight", "extra"}


def test_max_memory_is_kept_to_or_refused(convert, ckpt, files, tmp_path):
    _, refused = convert("weights.safetensors", "x.pth", "--max-memory", "1MiB")
    assert refused.code == 8 and "allow more" in refused.err
    done = ckpt("convert", files / "weights.safetensors", tmp_path / "y.pth", "--max-memory", "26MB", "--json")
    assert json.loads(done.out)["result"]["memory"] <= 26_000_000
    assert convert("weights.safetensors", "z.pth", "--max-memory", "lots")[1].code == 2


def test_format_takes_the_source_for_another(convert):
    assert convert("weights.safetensors", "x.pth", "--format", "torch")[1].code == 4


def test_the_source_is_never_the_destination(ckpt, files, tmp_path):
    source = tmp_path / "x.safetensors"
    source.write_bytes((files / "weights.safetensors").read_bytes())
    (tmp_path / "link").symlink_to(tmp_path)
    for place in (source, tmp_path / "link" / "x.safetensors", tmp_path / "." / "x.safetensors"):
        done = ckpt("convert", source, place, "--force")
        assert done.code == 9 and "its own source" in done.err
    assert source.read_bytes() == (files / "weights.safetensors").read_bytes()


def test_an_overflow_is_refused_and_nothing_is_committed(ckpt, tmp_path):
    torch.save({"w": torch.tensor([1.0, 1e6])}, tmp_path / "big.pth")
    done = ckpt("convert", tmp_path / "big.pth", tmp_path / "x.safetensors", "--dtype", "f16")
    assert done.code == 4 and "w: 1 finite values are too large for F16" in done.err
    assert not (tmp_path / "x.safetensors").exists()


def test_urls_that_cannot_be_written_to_are_refused_with_a_sentence(ckpt, files):
    done = ckpt("convert", files / "weights.safetensors", "https://host/x.safetensors")
    assert done.code == 6 and "https:// is read only; write to a disk, s3:// or gs://" in done.err


def test_json_and_quiet(convert, tmp_path):
    place, done = convert("weights.safetensors", "x.pth", "--json")
    content = json.loads(done.out)
    assert content["schema"] == "ckpt/convert@1" and content["ok"]
    assert content["result"]["tensors"] == 2 and list(content["result"]["files"]) == ["x.pth"]
    place, done = convert("weights.safetensors", "y.pth", "-q")
    assert done.out == f"{place}\n"


def test_a_certificate_is_checked_from_both_ends(convert, ckpt, files, tmp_path):
    source = tmp_path / "source.safetensors"
    source.write_bytes((files / "weights.safetensors").read_bytes())
    made = tmp_path / "made.pth"
    assert ckpt("convert", source, made, "--dtype", "bf16").code == 0
    assert ckpt("verify", made, "--certificate").code == 0
    moved = source.rename(tmp_path / "moved.safetensors")
    assert ckpt("verify", made, "--certificate").code == 3
    assert ckpt("verify", made, "--certificate", "--source", moved).code == 0
    done = ckpt("verify", made, "--certificate", "--source", files / "nan.safetensors")
    assert done.code == 4 and "CA003" in done.out and "norm.weight" in done.out
    assert ckpt("verify", files / "weights.pth", "--certificate").code == 2
    assert ckpt("verify", made, "--source", moved).code == 2


def test_an_option_goes_to_the_end_that_has_it(ckpt, tmp_path):
    from safetensors.torch import save_file

    folder = tmp_path / "two"
    folder.mkdir()
    save_file({"w": torch.ones(4)}, folder / "model.safetensors")
    save_file({"w": torch.ones(4).half()}, folder / "model.fp16.safetensors")
    place = tmp_path / "out"
    assert ckpt("convert", folder, place, "--to", "hf", "--variant", "fp16", "--weights", "bin").code == 0
    assert torch.load(place / "pytorch_model.bin", weights_only=True)["w"].dtype is torch.float16
    assert ckpt("verify", place, "--certificate").code == 0, "the source is opened again as it was opened then"
    wrong = ckpt("convert", folder / "model.safetensors", tmp_path / "x", "--to", "hf", "--variant", "fp16")
    assert wrong.code == 2 and "--variant: an option for reading hf, not for writing it" in wrong.err
    wrong = ckpt("inspect", folder, "--weights", "bin")
    assert wrong.code == 2 and "--weights: an option for writing hf, not for reading it" in wrong.err


@pytest.mark.parametrize("name", ["average.safetensors", "average.pt"])
def test_an_average_by_itself_stays_an_average(convert, ckpt, files, tmp_path, name):
    torch.save({"model": {"w": torch.ones(3)}, "ema": {"w": torch.zeros(3)}}, tmp_path / "both.pt")
    place, done = convert(tmp_path / "both.pt", name, "--component", "ema")
    assert done.code == 0, done.err
    assert json.loads(ckpt("inspect", place, "--json").out)["result"]["components"][0]["component"] == "ema"
    assert ckpt("verify", place, "--certificate").code == 0
