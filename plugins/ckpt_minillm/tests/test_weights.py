import pytest
import torch

import ckpt_core
from ckpt_core import Confidence, Depth, Sampling, Severity


def codes(verification):
    return [(finding.code, finding.severity) for finding in verification.report.findings]


def check_equal_to_torch(path):
    """Names, order, types, shapes and bits as torch.load has them, and a clean bill down to the values."""
    expected = torch.load(path, weights_only=True)
    checkpoint = ckpt_core.load(str(path))
    assert checkpoint.match.format == "minillm"
    component = checkpoint.manifest.components[0].label
    read = checkpoint.to_torch(component)
    assert list(read) == list(expected)
    for name, value in expected.items():
        assert read[name].dtype is value.dtype
        assert torch.equal(read[name].view(torch.uint8), value.view(torch.uint8)), name
    return checkpoint


FACTS = ("stage", "use_moe", "hidden_size", "num_hidden_layers", "vocab_size")
LAYOUTS = {
    "dense": ("pretrain_16.pth", {}),
    "dense of before the q and k norms": ("full_sft_16.pth", {"qk_norm": False}),
    "experts": ("grpo_16_moe.pth", {"moe": True}),
    "experts with shared ones, of before": ("rlhf_16_moe.pth", {"moe": True, "shared": 1, "qk_norm": False}),
    "a LoRA with its model": ("lora_medical_16.pth", {"lora": 4}),
    "wider and deeper": ("dpo_24.pth", {"hidden": 24, "layers": 3, "vocab": 48}),
    "an older suffix": ("full_sft_16_zero.pth", {}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("writer", ["save", "save_and_rename"])
def test_every_layout_is_read_as_torch_reads_it(layout, writer, minimind, tmp_path):
    name, options = LAYOUTS[layout]
    path = getattr(minimind, writer)(tmp_path / "out" / name, minimind.tensors(**options))
    checkpoint = check_equal_to_torch(path)
    assert checkpoint.match.confidence is Confidence.CERTAIN
    told = {key: value for key, value in checkpoint.manifest.metadata.items() if key in FACTS}
    assert told == {
        "stage": name[: name.index("_", 8 if name.startswith(("full", "lora")) else 0)],
        "use_moe": options.get("moe", False),
        "hidden_size": options.get("hidden", 16),
        "num_hidden_layers": options.get("layers", 2),
        "vocab_size": options.get("vocab", 32),
    }
    assert codes(ckpt_core.verify(str(path), depth=Depth.VALUES)) == []


def test_halved_weights_are_two_copies_of_a_tied_tensor_and_half_ones_are_one(minimind, tmp_path):
    tensors = minimind.tensors()
    apart = check_equal_to_torch(minimind.save(tmp_path / "pretrain_16.pth", tensors))
    assert apart.component("model").tensors["lm_head.weight"].alias_of is None
    embedding = tensors["model.embed_tokens.weight"].half()
    halved = {**tensors, "model.embed_tokens.weight": embedding, "lm_head.weight": embedding}
    tied = check_equal_to_torch(minimind.save(tmp_path / "full_sft_16.pth", halved))
    assert tied.component("model").tensors["lm_head.weight"].alias_of == "model.embed_tokens.weight"


def test_a_file_of_torch_before_zip_is_read(minimind, tmp_path):
    path = tmp_path / "pretrain_16.pth"
    tensors = {name: value.half() for name, value in minimind.tensors().items()}
    torch.save(tensors, path, _use_new_zipfile_serialization=False)
    check_equal_to_torch(path)


def test_a_state_dict_that_kept_its_class_is_read(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2))
    torch.save(model.state_dict(), tmp_path / "reason_16.pth")
    assert check_equal_to_torch(tmp_path / "reason_16.pth").match.confidence is Confidence.LIKELY


def test_opening_reads_no_tensor(minimind, tmp_path):
    path = minimind.save(tmp_path / "pretrain_16.pth", minimind.tensors(vocab=60_000))
    checkpoint = ckpt_core.load(str(path))
    path.unlink()
    assert checkpoint.manifest.metadata["vocab_size"] == 60_000


def test_what_is_not_told_is_left_out(minimind, tmp_path):
    path = minimind.save(tmp_path / "reason_16.pth", {"head.weight": torch.ones(2, 2)})
    assert [key for key in ckpt_core.load(str(path)).manifest.metadata if key in FACTS] == ["stage"]


def test_the_same_weights_under_another_name_are_identical(minimind, tmp_path):
    path = minimind.save(tmp_path / "full_sft_16.pth")
    for name in ("dpo_16.pth", "backup.pth"):
        (tmp_path / name).write_bytes(path.read_bytes())
        assert ckpt_core.diff(str(path), str(tmp_path / name)).identical


def test_the_same_weights_as_safetensors_are_identical(minimind, tmp_path):
    from safetensors.torch import save_file

    path = minimind.save(tmp_path / "full_sft_16.pth")
    save_file(torch.load(path, weights_only=True), tmp_path / "x.safetensors")
    assert ckpt_core.diff(str(path), str(tmp_path / "x.safetensors")).identical


def detected(path):
    return {(match.root, match.format) for match in ckpt_core.inspect(str(path)).place.detection.matches}


def test_a_directory_lists_its_weights_as_members(minimind, tmp_path):
    minimind.save(tmp_path / "out" / "pretrain_16.pth")
    minimind.save(tmp_path / "out" / "full_sft_16.pth")
    minimind.save_resume(tmp_path / "out" / "full_sft_16_resume.pth")
    minimind.save(tmp_path / "out" / "dpo_16.pth.tmp")
    minimind.save(tmp_path / "out" / "lora" / "lora_identity_16.pth")
    members = {root for root, format in detected(tmp_path / "out") if format == "minillm"}
    assert members == {"pretrain_16.pth", "full_sft_16.pth"}
    checkpoint = ckpt_core.load(f"{tmp_path}/out#pretrain_16.pth")
    assert checkpoint.match.format == "minillm"
    assert checkpoint.manifest.metadata["stage"] == "pretrain"


def test_a_file_in_flight_is_left_to_the_torch_format(minimind, tmp_path):
    assert detected(minimind.save(tmp_path / "dpo_16.pth.tmp")) == {("", "torch")}


@pytest.mark.parametrize("name", ["epoch_10.pth", "resnet_50.pth", "step_1000.pth", "model.pth", "net_2.pth"])
def test_somebody_elses_numbered_files_are_not_claimed(name, tmp_path):
    torch.save({"conv.weight": torch.ones(2, 2)}, tmp_path / name)
    assert detected(tmp_path / name) == {("", "torch")}


def test_a_counter_is_no_stage_even_over_the_same_tensor_names(minimind, tmp_path):
    assert detected(minimind.save(tmp_path / "checkpoint_16.pth")) == {("", "torch")}


def test_an_unknown_stage_is_claimed_by_its_tensor_names(minimind, tmp_path):
    checkpoint = check_equal_to_torch(minimind.save(tmp_path / "merge_identity_16.pth"))
    assert checkpoint.manifest.metadata["stage"] == "merge_identity"


@pytest.mark.parametrize("content", [b"", b"x" * 200_000, b"PK\x03\x04 not torch's", b"<html>"])
def test_a_good_name_over_other_content_is_not_claimed(content, tmp_path):
    path = tmp_path / "pretrain_512.pth"
    path.write_bytes(content)
    with pytest.raises(ckpt_core.CkptError):
        ckpt_core.load(str(path))


def test_mm001_the_name_says_another_hidden_size(minimind, tmp_path):
    path = minimind.save(tmp_path / "pretrain_512.pth")
    verification = ckpt_core.verify(str(path))
    assert codes(verification) == [("MM001", Severity.ERROR)]
    assert "512" in verification.report.findings[0].message
    assert "16" in verification.report.findings[0].message
    assert len(ckpt_core.load(str(path)).to_torch("model")) > 0


def test_mm001_only_warns_where_the_stage_is_nobodys(minimind, tmp_path):
    path = minimind.save(tmp_path / "qwen_7.pth")
    assert codes(ckpt_core.verify(str(path))) == [("MM001", Severity.WARNING)]


@pytest.mark.parametrize(("name", "moe"), [("full_sft_16.pth", True), ("full_sft_16_moe.pth", False)])
def test_mm002_the_name_and_the_experts_disagree(name, moe, minimind, tmp_path):
    path = minimind.save(tmp_path / name, minimind.tensors(moe=moe))
    assert codes(ckpt_core.verify(str(path))) == [("MM002", Severity.ERROR)]


def lora_alone(minimind):
    return {name: value for name, value in minimind.tensors(lora=4).items() if ".lora." in name}


def test_mm003_a_lora_alone_under_the_name_of_a_model(minimind, tmp_path):
    path = minimind.save(tmp_path / "full_sft_16.pth", lora_alone(minimind))
    assert codes(ckpt_core.verify(str(path))) == [("MM003", Severity.WARNING)]
    assert [component.label for component in check_equal_to_torch(path).manifest.components] == ["adapter"]


@pytest.mark.parametrize("name", ["lora_medical_16.pth", "lora_medical_16_moe.pth"])
def test_a_lora_alone_under_its_own_name_is_an_adapter(name, minimind, tmp_path):
    path = minimind.save(tmp_path / name, lora_alone(minimind))
    assert codes(ckpt_core.verify(str(path))) == []
    assert check_equal_to_torch(path).match.confidence is Confidence.CERTAIN


def test_mm004_a_resume_file_under_the_name_of_weights_is_still_readable(minimind, tmp_path):
    path = minimind.save_resume(tmp_path / "full_sft_16.pth")
    assert codes(ckpt_core.verify(str(path))) == [("MM004", Severity.ERROR)]
    checkpoint = ckpt_core.load(str(path))
    assert checkpoint.match.format == "minillm"
    assert checkpoint.manifest.metadata["hidden_size"] == 16
    expected = torch.load(path, weights_only=True)["model"]
    read = checkpoint.to_torch("model")
    assert all(torch.equal(read[name], value) for name, value in expected.items())


@pytest.mark.parametrize(("at", "depth"), [(0.5, Depth.BYTES), (0.9, Depth.LAYOUT)])
def test_damage_is_found(at, depth, minimind, tmp_path):
    path = minimind.save(tmp_path / "pretrain_16.pth")
    data = bytearray(path.read_bytes())
    if depth is Depth.LAYOUT:
        path.write_bytes(data[: int(len(data) * at)])
    else:
        place = data.index(minimind.tensors()["model.layers.1.mlp.up_proj.weight"].half().numpy().tobytes())
        data[place] ^= 1
        path.write_bytes(data)
    assert not ckpt_core.verify(str(path), depth=depth).report.ok


def flipped(path, tensor):
    """The file with one bit of a tensor changed."""
    data = bytearray(path.read_bytes())
    data[data.index(tensor.numpy().tobytes())] ^= 1
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("options", [{}, {"release": "minimind-3", "num_attention_heads": 2}])
@pytest.mark.parametrize("sampling", [None, Sampling(1.0)])
def test_checksums_are_compared_in_the_one_pass_over_the_bytes(options, sampling, minimind, tmp_path):
    changed = minimind.tensors()["model.layers.1.mlp.up_proj.weight"].half()
    path = flipped(minimind.save(tmp_path / "pretrain_16.pth"), changed)
    found = ckpt_core.verify(str(path), depth=Depth.BYTES, sampling=sampling, options=options).report.findings
    assert [(finding.code, finding.tensor) for finding in found if finding.severity is Severity.ERROR] == [
        ("ZP004", "model.layers.1.mlp.up_proj.weight")
    ]


def test_a_hostile_file_under_a_good_name_is_refused(tmp_path):
    class Payload:
        def __reduce__(self):
            return exec, ("open('owned', 'w').close()",)

    torch.save({"model.embed_tokens.weight": Payload()}, tmp_path / "pretrain_16.pth")
    with pytest.raises(ckpt_core.UnsafeContentError):
        ckpt_core.load(str(tmp_path / "pretrain_16.pth"))
    assert not (tmp_path / "owned").exists()


def test_a_file_taken_for_this_format_under_another_name_says_what_to_do(minimind, tmp_path):
    path = minimind.save(tmp_path / "other.pth")
    with pytest.raises(ckpt_core.UnsupportedFormatError, match="format='torch'"):
        ckpt_core.load(str(path), format="minillm")


def test_the_torch_format_can_still_be_asked_for(minimind, tmp_path):
    path = minimind.save(tmp_path / "pretrain_16.pth")
    assert [c.label for c in ckpt_core.load(str(path), format="torch").manifest.components] == ["model"]
