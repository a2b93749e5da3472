"""Weights written under a name of minimind's are what its trainers write; a name that lies is refused."""

import pytest
import torch

import ckpt_core
from ckpt_core import Depth, UnsupportedFormatError, UsageError


def save(state, place):
    return ckpt_core.save(state, str(place), format="minillm")


def lora(rank=4):
    return {f"model.layers.0.self_attn.q_proj.lora.{part}.weight": torch.ones(rank, rank) for part in "AB"}


def assert_plain(place, tensors, label="model"):
    """As a trainer reads it: a flat dict, equal, tied where it was."""
    found = torch.load(place, map_location="cpu", weights_only=True)
    assert list(found) == list(tensors)
    assert all(
        torch.equal(found[name], tensor) and found[name].dtype is tensor.dtype for name, tensor in tensors.items()
    )
    checkpoint = ckpt_core.load(str(place))
    assert (checkpoint.match.format, [c.label for c in checkpoint.manifest.components]) == ("minillm", [label])
    report = ckpt_core.verify(str(place), depth=Depth.VALUES).report
    assert report.findings == ()
    return found


@pytest.mark.parametrize("moe", [False, True])
def test_a_model_is_written_as_a_trainer_writes_it(tmp_path, minimind, moe):
    tensors = minimind.tensors(moe=moe)
    place = tmp_path / ("full_sft_16_moe.pth" if moe else "full_sft_16.pth")
    save(tensors, place)
    found = assert_plain(place, tensors)
    assert found["lm_head.weight"].data_ptr() == found["model.embed_tokens.weight"].data_ptr()


def test_a_lora_is_written_as_an_adapter(tmp_path, minimind):
    source = tmp_path / "lora_medical_16.pth"
    torch.save(lora(), source)
    copy = tmp_path / "copy" / source.name
    save(ckpt_core.load(str(source)), copy)
    assert_plain(copy, lora(), "adapter")


def test_the_model_of_a_resume_file_is_written_alone(tmp_path, minimind):
    from ckpt_core.reading.selection import select

    source = minimind.save_resume(tmp_path / "full_sft_16_resume.pth")
    checkpoint = select(ckpt_core.load(str(source)), components=["model"])
    save(checkpoint, tmp_path / "full_sft_16.pth")
    assert_plain(tmp_path / "full_sft_16.pth", torch.load(source, weights_only=True)["model"])


@pytest.mark.parametrize(
    "name", ["weights.pth", "full_sft_16_resume.pth", "full_sft_16.pth.tmp", "full_sft_16.pt", "16.pth"]
)
def test_a_name_that_is_none_is_refused_with_how_names_look(tmp_path, minimind, name):
    with pytest.raises(
        UsageError, match=r"named \{stage\}_\{hidden_size\}\[_moe\]\.pth, as full_sft_512\.pth"
    ) as caught:
        save(minimind.tensors(), tmp_path / name)
    assert str(caught.value).startswith(f"{name}: ")
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("name", "moe", "message"),
    [
        ("full_sft_512.pth", False, "the name says hidden size 512, the tensors say 16"),
        ("full_sft_16_moe.pth", False, "the name says experts, the tensors say otherwise"),
        ("full_sft_16.pth", True, "the name says no experts, the tensors say otherwise"),
        ("full_sft_8_moe.pth", False, "hidden size 8, the tensors say 16; the name says experts"),
    ],
)
def test_a_name_that_says_something_else_than_the_tensors_is_refused(tmp_path, minimind, name, moe, message):
    with pytest.raises(UsageError, match=message):
        save(minimind.tensors(moe=moe), tmp_path / name)
    assert not (tmp_path / name).exists()


def test_what_would_be_read_back_as_something_else_is_refused(tmp_path, minimind):
    source = tmp_path / "lora_medical_16.pth"
    torch.save(lora(), source)
    with pytest.raises(UsageError, match="are a LoRA, and the stage has no lora in it"):
        save(ckpt_core.load(str(source)), tmp_path / "full_sft_16.pth")
    with pytest.raises(UnsupportedFormatError, match="of this model would be read back as the other"):
        save(lora(), tmp_path / "lora_law_16.pth")
    with pytest.raises(UnsupportedFormatError, match="of this adapter would be read back as the other"):
        save({"adapter": minimind.tensors()}, tmp_path / "lora_law_16.pth")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"optimizer": {"m": torch.zeros(1)}}, "this checkpoint has model, optimizer; choose with components="),
        ({"step": 7}, "this checkpoint has model, progress; choose with components="),
    ],
)
def test_more_than_weights_is_refused(tmp_path, minimind, more, message):
    with pytest.raises(UsageError, match=message):
        save({"model": minimind.tensors(), **more}, tmp_path / "full_sft_16.pth")
    with pytest.raises(UnsupportedFormatError, match="this model has plain state"):
        save({**minimind.tensors(), "step": 7}, tmp_path / "full_sft_16.pth")
