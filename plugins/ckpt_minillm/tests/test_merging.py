"""A LoRA merged into its model gives the outputs that the model gives with the LoRA beside it."""

import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from minillm.lora import add_lora
from minillm.model import Config, MiniLLM

import ckpt_core
from ckpt_core import CorruptError, Depth, LoadError, UsageError
from ckpt_core.verbs.certify import certify
from ckpt_core.verbs.convert import convert

Q = "model.layers.0.self_attn.q_proj"


@pytest.fixture
def tuned():
    """A model with a LoRA that was trained; `model.pth` and `lora.pth` as minimind's trainers write them."""
    torch.manual_seed(3)
    model = MiniLLM(Config(32, 2, vocab_size=64))
    torch.save(model.state_dict(), "full_sft_32.pth")
    add_lora(model)
    for name, parameter in model.named_parameters():
        if ".lora." in name:
            torch.nn.init.normal_(parameter, std=0.2)
    torch.save({name: value for name, value in model.state_dict().items() if ".lora." in name}, "lora_law_32.pth")
    return model.eval()


def halved(place, name="halved_32.pth"):
    torch.save({key: value.half() for key, value in torch.load(place, weights_only=True).items()}, name)
    return name


def merge(base="full_sft_32.pth", lora="lora_law_32.pth", place="merge_law_32.pth", **how):
    convert(base, place, to="minillm", options={"lora": lora}, **how)
    return torch.load(place, weights_only=True)


def outputs(model):
    with torch.no_grad():
        return model(torch.arange(48).reshape(2, 24) % 64)


def test_the_merged_model_gives_what_the_unmerged_one_gives(tuned):
    merged = MiniLLM(tuned.config).eval()
    merged.load_state_dict(merge(), strict=True)
    torch.testing.assert_close(outputs(merged), outputs(tuned), rtol=1e-4, atol=1e-5)
    plain = MiniLLM(tuned.config).eval()
    plain.load_state_dict(torch.load("full_sft_32.pth", weights_only=True))
    assert not torch.allclose(outputs(plain), outputs(tuned), atol=1e-2), "the LoRA does something"


def test_every_module_with_factors_is_merged_and_no_other(tuned):
    before, after = torch.load("full_sft_32.pth", weights_only=True), merge()
    assert after.keys() == before.keys()
    factors = torch.load("lora_law_32.pth", weights_only=True)
    modules = {name.removesuffix(".lora.A.weight") for name in factors if name.endswith(".lora.A.weight")}
    assert {name.removesuffix(".weight") for name in after if not torch.equal(after[name], before[name])} == modules
    for module in modules:
        wanted = before[f"{module}.weight"] + factors[f"{module}.lora.B.weight"] @ factors[f"{module}.lora.A.weight"]
        torch.testing.assert_close(after[f"{module}.weight"], wanted, rtol=1e-6, atol=1e-6)


def test_the_sum_is_rounded_once_to_the_type_of_the_weight(tuned):
    base, lora = halved("full_sft_32.pth", "base_32.pth"), halved("lora_law_32.pth", "lora_half_32.pth")
    after = merge(base, lora)[f"{Q}.weight"]
    stored, factors = torch.load(base, weights_only=True), torch.load(lora, weights_only=True)
    exact = (
        stored[f"{Q}.weight"].double() + factors[f"{Q}.lora.B.weight"].double() @ factors[f"{Q}.lora.A.weight"].double()
    )
    assert after.dtype is torch.float16
    assert (after.double() - exact).abs().max() <= torch.finfo(torch.float16).eps / 2 * exact.abs().max()


@given(row=st.integers(0, 31), rows=st.integers(1, 32), column=st.integers(0, 31), columns=st.integers(1, 32))
@settings(max_examples=40)
def test_any_box_is_a_part_of_the_whole(shared, row, rows, column, columns):
    rows, columns = min(rows, 32 - row), min(columns, 32 - column)
    checkpoint = ckpt_core.load(str(shared / "full_sft_32.pth"), options={"lora": str(shared / "lora_law_32.pth")})
    whole = torch.frombuffer(checkpoint.read("model", f"{Q}.weight"), dtype=torch.float32).reshape(32, 32)
    part = checkpoint.read("model", f"{Q}.weight", box=((row, column), (rows, columns)))
    found = torch.frombuffer(part, dtype=torch.float32).reshape(rows, columns)
    assert torch.equal(found, whole[row : row + rows, column : column + columns])


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lora")
    torch.manual_seed(4)
    torch.save({f"{Q}.weight": torch.randn(32, 32)}, folder / "full_sft_32.pth")
    factors = {f"{Q}.lora.A.weight": torch.randn(8, 32), f"{Q}.lora.B.weight": torch.randn(32, 8)}
    torch.save(factors, folder / "lora_law_32.pth")
    return folder


def test_slabs_change_no_bit_and_bound_what_is_computed_at_once(tuned, monkeypatch):
    whole = merge()
    monkeypatch.setattr("ckpt_minillm.merging._SLAB", 96)
    parts = merge(place="small_32.pth", max_memory=40 << 20)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_model_is_filled_with_merged_weights_and_other_formats_take_them(tuned):
    options = {"lora": "lora_law_32.pth"}
    merged = MiniLLM(tuned.config).eval()
    assert ckpt_core.load_into(merged, "full_sft_32.pth", options=options).coverage == 1
    torch.testing.assert_close(outputs(merged), outputs(tuned), rtol=1e-4, atol=1e-5)
    convert("full_sft_32.pth", "x.safetensors", options=options)
    found = ckpt_core.load("x.safetensors").to_torch(separate=True)
    wanted = merge()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in found.items())


def test_the_merge_is_certified_from_both_files(tuned):
    merge()
    assert certify("merge_law_32.pth") == []
    factors = torch.load("lora_law_32.pth", weights_only=True)
    factors[f"{Q}.lora.B.weight"] += 1
    torch.save(factors, "lora_law_32.pth")
    assert {finding.code for finding in certify("merge_law_32.pth")} == {"CA003", "CA005"}


def test_a_file_saved_with_its_lora_is_merged_with_itself(tuned):
    torch.save(tuned.state_dict(), "lora_full_32.pth")
    merged = merge("lora_full_32.pth", "lora_full_32.pth")
    assert not any(".lora." in name for name in merged)
    assert all(torch.equal(merged[name], tensor) for name, tensor in merge(place="z_32.pth").items())
    with pytest.raises(UsageError, match=r"given as the checkpoint and as options\['lora'\] both"):
        merge("full_sft_32.pth", "lora_full_32.pth", place="no_32.pth")
    with pytest.raises(UsageError, match="has LoRA tensors of its own"):
        merge("lora_full_32.pth", "lora_law_32.pth", place="no_32.pth")


def test_how_many_modules_it_changes_is_said_and_that_an_untrained_one_changes_none(tuned, caplog):
    report = ckpt_core.verify("full_sft_32.pth", depth=Depth.VALUES, options={"lora": "lora_law_32.pth"}).report
    (said,) = [finding for finding in report.findings if finding.code == "MM021"]
    assert said.message == "lora_law_32.pth: merged into 4 modules, 4 of which it changes"
    factors = torch.load("lora_law_32.pth", weights_only=True)
    torch.save({name: t * (".A." in name) for name, t in factors.items()}, "lora_new_32.pth")
    seen = ckpt_core.load("full_sft_32.pth", options={"lora": "lora_new_32.pth"})
    assert [finding.code for finding in seen.manifest.findings] == ["MM020"]
    assert "merging it changes nothing" in caplog.text


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        (lambda t: t.clear() or t.update(w=torch.ones(2)), UsageError, "holds no tensor named MODULE.lora.A.weight"),
        (lambda t: t.pop(f"{Q}.lora.B.weight"), LoadError, "has only lora.A of two factors"),
        (lambda t: t.update({f"{Q}.lora.B.weight": torch.ones(32, 3)}), LoadError, "cannot be multiplied"),
        (lambda t: t.update({f"{Q}.lora.B.weight": torch.ones(16, 8)}), LoadError, r"product \(16, 32\)"),
        (
            lambda t: t.update({f"other.lora.{part}.weight": torch.ones(8, 8) for part in "AB"}),
            LoadError,
            "other.weight: the LoRA has factors for it, and the model lacks it",
        ),
        (
            lambda t: t.update(
                {"lm_head.lora.A.weight": torch.ones(8, 32), "lm_head.lora.B.weight": torch.ones(64, 8)}
            ),
            LoadError,
            "lm_head.weight: is tied to another tensor",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(tuned, change, error, reason):
    factors = torch.load("lora_law_32.pth", weights_only=True)
    change(factors)
    torch.save(factors, "lora_bad_32.pth")
    with pytest.raises(error, match=reason):
        merge(lora="lora_bad_32.pth")
    assert not Path("merge_law_32.pth").exists()


def test_a_sum_too_large_for_the_type_is_refused_by_name(tuned):
    base = halved("full_sft_32.pth")
    factors = {f"{Q}.lora.A.weight": torch.ones(8, 32), f"{Q}.lora.B.weight": torch.full((32, 8), 6e4)}
    torch.save(factors, "lora_big_32.pth")
    with pytest.raises(LoadError, match=f"{Q}.weight: .* too large for F16"):
        merge(base, "lora_big_32.pth")


@pytest.mark.parametrize(
    "damaged, name",
    [
        ("full_sft_32.pth", f"{Q}.weight"),
        ("full_sft_32.pth", "model.norm.weight"),
        ("lora_law_32.pth", f"{Q}.lora.A.weight"),
        ("lora_law_32.pth", f"{Q}.lora.B.weight"),
    ],
)
def test_damage_in_the_model_or_in_the_lora_is_refused(tuned, damaged, name):
    component = ckpt_core.load(damaged).manifest.components[0]
    data = bytearray(Path(damaged).read_bytes())
    data[component.tensors.info(name).offset + 1] ^= 1
    Path(damaged).write_bytes(data)
    with pytest.raises(CorruptError, match=damaged):
        merge()
    assert not Path("merge_law_32.pth").exists()
    how = {"to": "minillm", "options": {"lora": "lora_law_32.pth"}, "accept_damage": True}
    report = convert("full_sft_32.pth", "m_32.pth", **how).report
    assert report.tainted["model/" + re.sub(r"lora\.[AB]\.", "", name)] == "damaged"


def test_the_certificate_says_what_both_were_checked_by(tuned):
    report = convert("full_sft_32.pth", "m_32.pth", to="minillm", options={"lora": "lora_law_32.pth"}).report
    assert "crc32" in report.checked["source_checked"] and "crc32" in report.checked["lora_checked"]
