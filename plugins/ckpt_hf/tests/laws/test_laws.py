"""Real checkpoints are COMPLETE for inference, and each law broken on them is named.

The tools themselves are the measure: they refuse what is named, start some of it at random, or leave some of it out.
"""

import json
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

import ckpt_core
from ckpt_core import Depth, Profile

MAKER = "lawful_models.py"
MODELS = [
    "llama",
    "tied",
    "gpt2",
    "bert",
    "encoder",
    "t5",
    "clip",
    "llava",
    "mixtral",
    "qwen2",
    "vit",
    "opt",
    "bloom",
    "neox",
    "mamba",
    "unet",
]
ADAPTERS = [
    "lora",
    "dora",
    "patterns",
    "some-layers",
    "everything",
    "tokens",
    "embedding",
    "ia3",
    "prompt",
]


@pytest.fixture(scope="session")
def saves(made):
    return made(MAKER, "save")


def report_on(folder, depth=Depth.LAYOUT):
    return ckpt_core.verify(str(folder), profile=Profile.INFERENCE, depth=depth).report


def errors(folder, depth=Depth.LAYOUT):
    return sorted({finding.code for finding in report_on(folder, depth).findings if finding.severity > 1})


@pytest.mark.parametrize("name", [*MODELS, *ADAPTERS])
def test_what_the_tools_save_is_complete_without_a_word(saves, name):
    report = report_on(saves / name)
    assert report.assessment.summary == "COMPLETE for inference; finite: not checked"
    assert [finding for finding in report.findings if finding.severity > 0] == []
    assert report_on(saves / name, Depth.VALUES).assessment.summary == "COMPLETE for inference"


def edit(folder, change):
    """Change the tensors of a model or an adapter."""
    names = ("model.safetensors", "adapter_model.safetensors", "diffusion_pytorch_model.safetensors")
    path = next(folder / name for name in names if (folder / name).exists())
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def without(*words):
    return lambda tensors: {name: t for name, t in tensors.items() if not any(word in name for word in words)}


def configured(**more):
    def change(folder):
        path = next(folder / name for name in ("config.json", "adapter_config.json") if (folder / name).exists())
        path.write_text(json.dumps(json.loads(path.read_text()) | more))

    return change


def stored(change):
    return lambda folder: edit(folder, change)


def longer(word):
    def change(tensors):
        return {n: torch.cat([t, t[:1]]).contiguous() if word in n else t for n, t in tensors.items()}

    return stored(change)


def emptied(word):
    return stored(lambda tensors: {n: torch.empty(0) if word in n else t for n, t in tensors.items()})


def prefixed(prefix):
    return stored(lambda tensors: {f"{prefix}{name}": t for name, t in tensors.items()})


BROKEN = [
    ("llama", longer("embed_tokens"), "LW020"),
    ("tied", longer("embed_tokens"), "LW020"),
    ("gpt2", configured(vocab_size=63), "LW020"),
    ("bert", configured(vocab_size=72), "LW020"),
    ("t5", longer("shared"), "LW020"),
    ("bloom", configured(vocab_size=65), "LW020"),
    ("neox", configured(vocab_size=60), "LW020"),
    ("mixtral", configured(vocab_size=128), "LW020"),
    ("opt", configured(vocab_size=50), "LW020"),
    ("llama", configured(hidden_size=32), "LW021"),
    ("qwen2", configured(hidden_size=8), "LW021"),
    ("gpt2", configured(n_embd=32), "LW021"),
    ("llama", stored(without("layers.2.")), "LW022"),
    ("gpt2", stored(without("h.2.")), "LW022"),
    ("bert", configured(num_hidden_layers=4), "LW022"),
    ("encoder", stored(without("layer.2.")), "LW022"),
    ("t5", stored(without("decoder.block.2.")), "LW022"),
    ("vit", configured(num_hidden_layers=5), "LW022"),
    ("mamba", stored(without("layers.2.")), "LW022"),
    ("neox", configured(num_hidden_layers=4), "LW022"),
    ("opt", stored(without("layers.2.")), "LW022"),
    ("bloom", configured(n_layer=6), "LW022"),
    ("llava", stored(without("language_model.model.layers.2.", "language_model.layers.2.")), "LW022"),
    ("llama", stored(without("layers.1.")), "LW003"),
    ("bert", stored(without("layer.1.")), "LW003"),
    ("clip", stored(without("vision_model.encoder.layers.1.")), "LW003"),
    ("mixtral", stored(without("layers.0.block_sparse_moe.experts.2.")), "LW003"),
    ("mixtral", configured(num_local_experts=8), "LW026"),
    ("qwen2", stored(without("layers.1.self_attn.k_proj")), "LW004"),
    ("llama", stored(without("layers.0.mlp.up_proj")), "LW004"),
    ("llama", configured(num_key_value_heads=4), "LW023"),
    ("llama", configured(head_dim=8), "LW023"),
    ("qwen2", configured(intermediate_size=48), "LW023"),
    ("llama", stored(without("lm_head")), "LW024"),
    ("mixtral", stored(without("lm_head")), "LW024"),
    ("bert", stored(without("classifier")), "LW025"),
    ("vit", stored(without("classifier")), "LW025"),
    ("t5", stored(without("decoder.")), "LW025"),
    ("llama", emptied("norm"), "LW001"),
    ("gpt2", emptied("weight"), "LW001"),
    ("vit", emptied("layernorm"), "LW001"),
    ("llama", prefixed("module."), "LW002"),
    ("gpt2", prefixed("_orig_mod."), "LW002"),
    ("bert", prefixed("_fsdp_wrapped_module."), "LW002"),
    ("llama", configured(quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 16}), "LW014"),
    ("qwen2", configured(quantization_config={"quant_method": "fp8"}), "LW014"),
    ("opt", configured(quantization_config={"quant_method": "awq", "bits": 4}), "LW014"),
]


@pytest.mark.parametrize(("name", "broken", "code"), BROKEN)
def test_a_broken_law_is_an_error_by_its_name(saves, copy_of, name, broken, code):
    folder = copy_of(saves / name)
    broken(folder)
    assert code in errors(folder)
    assert report_on(folder).assessment.verdict.value != "COMPLETE"


def suffers(folder):
    """Whether transformers refuses a model, starts something of it at random, or leaves some of it out."""
    import transformers

    config = json.loads((folder / "config.json").read_text())
    if "quantization_config" in config:
        return True  # its backends are not installed, and it asks for them
    kind = getattr(transformers, config["architectures"][0])
    try:
        _, info = kind.from_pretrained(folder, output_loading_info=True)
    except (RuntimeError, ValueError, TypeError):
        return True
    return any(info[key] for key in ("missing_keys", "mismatched_keys", "unexpected_keys"))


@pytest.mark.parametrize("name", [name for name in MODELS if name != "unet"])
def test_what_is_complete_transformers_takes_whole(saves, name):
    assert not suffers(saves / name)


@pytest.mark.long
@pytest.mark.parametrize(("name", "broken", "code"), BROKEN)
def test_what_breaks_a_law_transformers_does_not_take_whole(saves, copy_of, name, broken, code):
    folder = copy_of(saves / name)
    broken(folder)
    assert suffers(folder)


@pytest.mark.parametrize(("name", "broken", "code"), BROKEN[::12])
def test_of_what_breaks_a_law_some_are_tried_with_transformers_each_time(saves, copy_of, name, broken, code):
    folder = copy_of(saves / name)
    broken(folder)
    assert suffers(folder)


def halved(word):
    def change(tensors):
        return {n: t[:, : t.shape[1] // 2].contiguous() if word in n else t for n, t in tensors.items()}

    return stored(change)


BROKEN_ADAPTERS = [
    ("lora", stored(without("layers.0.self_attn.q_proj.lora_B")), "LW005"),
    ("dora", stored(without("layers.1.self_attn.v_proj.lora_A")), "LW005"),
    ("embedding", stored(without("lora_embedding_B")), "LW005"),
    ("lora", halved("layers.2.self_attn.q_proj.lora_B"), "LW005"),
    ("lora", configured(r=4), "LW006"),
    ("patterns", configured(rank_pattern={}), "LW006"),
    ("some-layers", configured(r=8), "LW006"),
    ("dora", stored(without("magnitude")), "LW008"),
    ("everything", stored(without("lm_head")), "LW009"),
    ("lora", emptied("lora_A"), "LW001"),
]


@pytest.mark.parametrize(("name", "broken", "code"), BROKEN_ADAPTERS)
def test_an_adapter_that_does_not_go_together_is_an_error(saves, copy_of, name, broken, code):
    from peft import PeftModel
    from transformers import LlamaForCausalLM

    folder = copy_of(saves / name)
    broken(folder)
    assert code in errors(folder)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(saves / "llama"), folder)
        except (RuntimeError, KeyError, ValueError, IndexError):
            return
    assert any("missing" in str(one.message) for one in said)


@pytest.mark.parametrize(
    ("broken", "shown"),
    [
        (stored(without("v_proj")), "v_proj"),
        (configured(target_modules=["q_proj", "v_proj", "o_proj"]), "o_proj"),
        (configured(layers_to_transform=[0, 1, 2, 3]), "3"),
    ],
)
def test_a_target_without_factors_is_a_warning(saves, copy_of, broken, shown):
    folder = copy_of(saves / "lora")
    broken(folder)
    found = [finding for finding in report_on(folder).findings if finding.code == "LW007"]
    assert found and shown in found[0].message and errors(folder) == []


def test_an_adapter_of_another_base_is_an_error_and_its_own_base_is_none(saves, copy_of):
    folder = copy_of(saves / "lora")
    assert errors(folder) == []
    wide = copy_of(saves / "llama")
    edit(wide, lambda ts: {n: torch.ones(48, 16) if "q_proj" in n else t for n, t in ts.items()})
    configured(base_model_name_or_path=str(wide))(folder)
    assert errors(folder) == ["LW015"]
    edit(wide, lambda ts: {n: torch.ones(16, 16) if "q_proj" in n else t for n, t in ts.items() if "layers.2" not in n})
    assert errors(folder) == ["LW015"]


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        (configured(in_channels=9), "LW023"),
        (configured(block_out_channels=[8, 8]), "LW023"),
        (stored(without("down_blocks.1.")), "LW022"),
        (configured(up_block_types=["UpBlock2D"] * 3), "LW022"),
    ],
)
def test_a_component_of_diffusers_that_its_config_does_not_make_is_an_error(saves, copy_of, broken, code):
    from diffusers import UNet2DConditionModel

    folder = copy_of(saves / "unet")
    broken(folder)
    assert errors(folder) == [code]
    try:
        _, info = UNet2DConditionModel.from_pretrained(folder, output_loading_info=True, low_cpu_mem_usage=False)
    except (RuntimeError, ValueError):
        return
    assert info["missing_keys"]


def test_a_model_without_its_config_is_not_complete(saves, copy_of):
    folder = copy_of(saves / "llama")
    (folder / "config.json").unlink()
    assert report_on(folder).assessment.summary.startswith("PARTIAL for inference: config absent (config.json)")


@pytest.mark.parametrize(("value", "code"), [(float("nan"), "VL001"), (float("inf"), "VL002"), (0.0, "VL003")])
def test_values_that_no_weight_has_are_errors_once_they_are_read(saves, copy_of, value, code):
    folder = copy_of(saves / "llama")
    edit(folder, lambda ts: {n: torch.full_like(t, value) if "layers.1.mlp.up" in n else t for n, t in ts.items()})
    assert errors(folder) == []
    assert errors(folder, Depth.VALUES) == [code]


def test_infinities_of_a_mask_are_none_of_a_weight(saves, copy_of):
    folder = copy_of(saves / "gpt2")
    mask = torch.full((4, 4), float("-inf")).triu(1)
    edit(folder, lambda tensors: tensors | {"transformer.causal_mask": mask})
    assert errors(folder, Depth.VALUES) == []


class Runs:
    def __reduce__(self):
        return eval, ("print('this was run')",)


@pytest.mark.parametrize("name", ["training_args.bin", "optimizer.pt", "pytorch_model.bin", "extra.pkl"])
def test_a_pickle_beside_the_weights_that_runs_code_is_an_error(saves, copy_of, name, capsys):
    folder = copy_of(saves / "llama")
    torch.save({"x": Runs()}, folder / name)
    assert "LW033" in errors(folder)
    assert "this was run" not in capsys.readouterr().out


def test_the_trainers_own_arguments_beside_the_weights_are_no_error(saves, copy_of):
    from transformers import TrainingArguments

    folder = copy_of(saves / "llama")
    torch.save(TrainingArguments(output_dir=str(folder), use_cpu=True, report_to=[]), folder / "training_args.bin")
    assert report_on(folder).assessment.verdict.value == "COMPLETE"
    assert all(finding.severity == 0 for finding in report_on(folder).findings)


def test_a_second_copy_of_the_weights_is_a_warning_where_it_differs(saves, copy_of):
    folder = copy_of(saves / "llama")
    tensors = load_file(folder / "model.safetensors")
    torch.save(tensors, folder / "pytorch_model.bin")
    assert [finding.code for finding in report_on(folder, Depth.BYTES).findings if finding.severity] == []
    name = "model.norm.weight"
    torch.save(tensors | {name: tensors[name] * 2}, folder / "pytorch_model.bin")
    assert "LW035" in {finding.code for finding in report_on(folder, Depth.BYTES).findings}
    torch.save(tensors | {name: tensors[name].half()}, folder / "pytorch_model.bin")
    assert "LW035" in {finding.code for finding in report_on(folder).findings}


def test_code_that_a_config_names_is_a_warning(saves, copy_of):
    folder = copy_of(saves / "llama")
    configured(auto_map={"AutoModelForCausalLM": "modeling_own.OwnForCausalLM"})(folder)
    assert {finding.code for finding in report_on(folder).findings if finding.severity} == {"LW031"}


def test_a_hint_that_names_a_size_works(saves, copy_of):
    folder = copy_of(saves / "llama")
    longer("embed_tokens")(folder)
    longer("lm_head")(folder)
    assert suffers(folder)
    [hint] = {finding.hint for finding in report_on(folder).findings if finding.code == "LW020"}
    assert "set vocab_size to 65" in hint
    configured(vocab_size=65)(folder)
    assert errors(folder) == [] and not suffers(folder)


def without_an_index(folder):
    import transformers

    transformers.LlamaForCausalLM.from_pretrained(folder).save_pretrained(folder, max_shard_size="12KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    (folder / "model.safetensors.index.json").unlink()


def test_shards_without_an_index_are_an_error_for_transformers_does_not_find_them(saves, copy_of):
    import transformers

    folder = copy_of(saves / "llama")
    without_an_index(folder)
    with pytest.raises(OSError, match="no file named"):
        transformers.LlamaForCausalLM.from_pretrained(folder)
    assert errors(folder) == ["LW036"]
    ckpt_core.repair(str(folder), in_place=True)
    assert errors(folder) == [] and not suffers(folder)


def test_a_shard_that_no_index_names_is_a_warning_for_transformers_leaves_it_alone(saves, copy_of):
    folder = copy_of(saves / "llama")
    without_an_index(folder)
    ckpt_core.repair(str(folder), in_place=True)
    first = next(folder.glob("model-00001-of-*.safetensors"))
    (folder / "model-00009-of-00009.safetensors").write_bytes(first.read_bytes())
    assert {finding.code for finding in report_on(folder).findings if finding.severity} == {"HF009"}
    assert not suffers(folder)


class Kept:
    """Stands for an optimizer that was pickled itself."""


def test_a_needed_component_that_is_one_unknown_object_is_an_error(saves, copy_of):
    folder = copy_of(saves / "llama")
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 3, "log_history": []}))
    torch.save(Kept(), folder / "optimizer.pt")
    report = ckpt_core.verify(str(folder), profile=Profile.RESUME, depth=Depth.LAYOUT).report
    assert "LW030" in {finding.code for finding in report.findings if finding.severity > 1}
    assert "LW030" not in {finding.code for finding in report_on(folder).findings}
