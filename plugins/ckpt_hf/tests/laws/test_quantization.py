"""Quantized models laid out as each tool lays them out are COMPLETE, and each way to take one apart is an error.

Names, types and shapes are what compressed-tensors 0.20 and torchao 0.18 wrote of a linear layer of 64 to 128, and what
the sources of the other tools write; the real tools of most need an accelerator.
"""

import json
import math
import struct

import pytest

import ckpt_core
from ckpt_core import Profile

SIZES = {"I8": 1, "U8": 1, "F8_E4M3": 1, "I16": 2, "F16": 2, "BF16": 2, "F32": 4, "I32": 4, "I64": 8}
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 32,
    "tie_word_embeddings": False,
}
PROJECTIONS = {
    **{f"self_attn.{name}_proj": (64, 64) for name in "qkvo"},
    "mlp.gate_proj": (128, 64),
    "mlp.up_proj": (128, 64),
    "mlp.down_proj": (64, 128),
}


def compressed(format, **more):
    return {"quant_method": "compressed-tensors", "format": format, "quantization_status": "compressed", **more}


def nf4(rows, columns):
    runs = rows * columns // 64
    return {
        "weight": ("U8", [rows * columns // 2, 1]),
        "weight.absmax": ("F32", [runs]),
        "weight.quant_map": ("F32", [16]),
        "weight.quant_state.bitsandbytes__nf4": ("U8", [82]),
    }


def nested(rows, columns):
    inner = {
        "weight.absmax": ("U8", [rows * columns // 64]),
        "weight.nested_absmax": ("F32", [1]),
        "weight.nested_quant_map": ("F32", [256]),
    }
    return nf4(rows, columns) | inner


BITS4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False, "bnb_4bit_quant_type": "nf4"}
BITS8 = {"quant_method": "bitsandbytes", "load_in_4bit": False, "load_in_8bit": True}
GROUPS = compressed("pack-quantized")

LAYOUTS = {
    "gptq": (
        {"quant_method": "gptq", "bits": 4, "group_size": 32},
        lambda o, i: {
            "qweight": ("I32", [i // 8, o]),
            "qzeros": ("I32", [i // 32, o // 8]),
            "scales": ("F16", [i // 32, o]),
            "g_idx": ("I32", [i]),
        },
    ),
    "gptq of three bits": (
        {"quant_method": "gptq", "bits": 3, "group_size": 32},
        lambda o, i: {
            "qweight": ("I32", [i * 3 // 32, o]),
            "qzeros": ("I32", [i // 32, o * 3 // 32]),
            "scales": ("F16", [i // 32, o]),
            "g_idx": ("I32", [i]),
        },
    ),
    "awq": (
        {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm", "zero_point": True},
        lambda o, i: {
            "qweight": ("I32", [i, o // 8]),
            "qzeros": ("I32", [i // 32, o // 8]),
            "scales": ("F16", [i // 32, o]),
        },
    ),
    "awq for one row": (
        {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemv"},
        lambda o, i: {"qweight": ("I32", [o, i // 8]), "qzeros": ("I32", [o, 1]), "scales": ("F16", [o, 8])},
    ),
    "nf4": (BITS4, nf4),
    "nf4 with nested scales": (BITS4, nested),
    "int8 of bitsandbytes": (
        BITS8,
        lambda o, i: {"weight": ("I8", [o, i]), "SCB": ("F32", [o]), "weight_format": ("U8", [])},
    ),
    "fp8 in blocks": (
        {"quant_method": "fp8", "weight_block_size": [48, 48], "activation_scheme": "dynamic"},
        lambda o, i: {"weight": ("F8_E4M3", [o, i]), "weight_scale_inv": ("F32", [-(-o // 48), -(-i // 48)])},
    ),
    "fp8 with one scale": (
        {"quant_method": "fp8", "activation_scheme": "static"},
        lambda o, i: {
            "weight": ("F8_E4M3", [o, i]),
            "weight_scale": ("F32", []),
            "input_scale": ("F32", []),
        },
    ),
    "fbgemm": (
        {"quant_method": "fbgemm_fp8"},
        lambda o, i: {"weight": ("F8_E4M3", [o, i]), "weight_scale": ("F32", [o, 1]), "input_scale_ub": ("F32", [1])},
    ),
    "int8 by channel": (
        compressed("int-quantized"),
        lambda o, i: {"weight": ("I8", [o, i]), "weight_scale": ("BF16", [o, 1])},
    ),
    "int8 with zeros": (
        compressed("int-quantized"),
        lambda o, i: {
            "weight": ("I8", [o, i]),
            "weight_scale": ("BF16", [o, i // 32]),
            "weight_zero_point": ("I8", [o, i // 32]),
            "input_scale": ("BF16", [1]),
            "input_zero_point": ("I8", [1]),
        },
    ),
    "fp8 by channel": (
        compressed("float-quantized"),
        lambda o, i: {"weight": ("F8_E4M3", [o, i]), "weight_scale": ("BF16", [o, 1])},
    ),
    "fp8 static": (
        compressed("float-quantized"),
        lambda o, i: {"weight": ("F8_E4M3", [o, i]), "weight_scale": ("BF16", [1]), "input_scale": ("BF16", [1])},
    ),
    "four bits in groups": (
        GROUPS,
        lambda o, i: {
            "weight_packed": ("I32", [o, i // 8]),
            "weight_scale": ("BF16", [o, i // 32]),
            "weight_shape": ("I64", [2]),
        },
    ),
    "four bits with zeros in another order": (
        GROUPS,
        lambda o, i: {
            "weight_packed": ("I32", [o, i // 8]),
            "weight_scale": ("BF16", [o, i // 32]),
            "weight_zero_point": ("I32", [o // 8, i // 32]),
            "weight_g_idx": ("I32", [i]),
            "weight_shape": ("I64", [2]),
        },
    ),
    "nvfp4": (
        compressed("nvfp4-pack-quantized"),
        lambda o, i: {
            "weight_packed": ("U8", [o, i // 2]),
            "weight_scale": ("F8_E4M3", [o, i // 16]),
            "weight_global_scale": ("F32", [1]),
            "input_global_scale": ("F32", [1]),
        },
    ),
    "mxfp4 of compressed-tensors": (
        compressed("mxfp4-pack-quantized"),
        lambda o, i: {"weight_packed": ("U8", [o, i // 2]), "weight_scale": ("U8", [o, i // 32])},
    ),
    "mxfp8 of compressed-tensors": (
        compressed("mxfp8-quantized"),
        lambda o, i: {"weight": ("F8_E4M3", [o, i]), "weight_scale": ("U8", [o, i // 32])},
    ),
    "modelopt": (
        {"quant_method": "modelopt", "quant_algo": "NVFP4"},
        lambda o, i: {
            "weight": ("U8", [o, i // 2]),
            "weight_scale": ("F8_E4M3", [o, i // 16]),
            "weight_scale_2": ("F32", []),
            "input_scale": ("F32", []),
        },
    ),
    "torchao int8": (
        {"quant_method": "torchao"},
        lambda o, i: {
            "_weight_qdata": ("I8", [o, i]),
            "_weight_scale": ("F32", [o, 1]),
            "_weight_zero_point": ("I8", [o, 1]),
        },
    ),
    "torchao fp8": (
        {"quant_method": "torchao"},
        lambda o, i: {"_weight_qdata": ("F8_E4M3", [o, i]), "_weight_scale": ("F32", [o, 1])},
    ),
    "torchao in groups": (
        {"quant_method": "torchao"},
        lambda o, i: {
            "_weight_qdata": ("I8", [o, i]),
            "_weight_scale": ("BF16", [o, i // 32]),
            "_weight_zero_point": ("I8", [o, i // 32]),
        },
    ),
    "torchao in tiles": (
        {"quant_method": "torchao"},
        lambda o, i: {
            "_weight_qdata": ("I32", [o // 8, i // 64, 32, 4]),
            "_weight_scale_and_zero": ("BF16", [i // 32, o, 2]),
        },
    ),
    "torchao nvfp4": (
        {"quant_method": "torchao"},
        lambda o, i: {
            "_weight_qdata": ("U8", [o, i // 2]),
            "_weight_scale": ("F8_E4M3", [o // 2, i // 4]),
            "_weight_per_tensor_scale": ("F32", []),
        },
    ),
    "hqq": (
        {"quant_method": "hqq"},
        lambda o, i: {
            "W_q": ("U8", [o * i // 128, 64]),
            "scale": ("F16", [o * i // 64, 1]),
            "zero": ("F16", [o * i // 64, 1]),
            "nbits": ("I32", [1]),
            "group_size": ("I32", [1]),
            "shape": ("I32", [2]),
        },
    ),
    "quanto": (
        {"quant_method": "quanto"},
        lambda o, i: {
            "weight._data": ("I8", [o, i]),
            "weight._scale": ("F32", [o, 1]),
            "input_scale": ("F32", []),
            "output_scale": ("F32", []),
        },
    ),
    "eetq": (
        {"quant_method": "eetq"},
        lambda o, i: {"weight": ("I8", [i, o]), "weight_scales": ("F16", [o])},
    ),
}


def write(path, tensors):
    header, at = {}, 0
    for name, (dtype, shape) in tensors.items():
        size = math.prod(shape) * SIZES[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(at))


def model(layout):
    """The tensors of a llama whose projections are stored as a layout says; plain ones where it is None."""
    tensors = {"model.embed_tokens.weight": ("BF16", [32, 64]), "lm_head.weight": ("BF16", [32, 64])}
    tensors["model.norm.weight"] = ("BF16", [64])
    for layer in range(2):
        start = f"model.layers.{layer}."
        tensors |= {f"{start}{name}.weight": ("BF16", [64]) for name in ("input_layernorm", "post_attention_layernorm")}
        for projection, (rows, columns) in PROJECTIONS.items():
            stored = layout(rows, columns) if layout else {"weight": ("BF16", [rows, columns])}
            tensors |= {f"{start}{projection}.{end}": info for end, info in stored.items()}
    return tensors


@pytest.fixture
def saved(tmp_path):
    def save(tensors, said, **more):
        config = CONFIG | ({"quantization_config": said} if said else {})
        (tmp_path / "config.json").write_text(json.dumps(config))
        write(tmp_path / "model.safetensors", tensors)
        for name, content in more.items():
            (tmp_path / f"{name}.json").write_text(content)
        return tmp_path

    return save


def report_on(folder):
    return ckpt_core.verify(str(folder), profile=Profile.INFERENCE, depth=ckpt_core.Depth.LAYOUT).report


def errors(folder):
    return {finding.code for finding in report_on(folder).findings if finding.severity > 1}


def ends(name):
    """What a layout's scales and codes are called, codes first."""
    return list(LAYOUTS[name][1](64, 64))


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_model_as_its_tool_lays_it_out_is_complete_without_a_word(saved, name):
    said, layout = LAYOUTS[name]
    report = report_on(saved(model(layout), said))
    assert [finding for finding in report.findings if finding.severity > 0] == []
    assert report.assessment.verdict.value == "COMPLETE"


def scales_of(name):
    """The end of the scales of a layout: what says how codes are read."""
    known = ("absmax", "SCB", "scale_inv", "weight_scale", "scales", "_scale", "scale_and_zero", "scale")
    return next(end for word in known for end in ends(name)[1:] if end.endswith(word))


def dropped(tensors, end, *, only=""):
    return {name: info for name, info in tensors.items() if not (name.endswith(f".{end}") and only in name)}


@pytest.mark.parametrize("name", LAYOUTS)
def test_one_modules_scales_gone_are_an_error(saved, name):
    said, layout = LAYOUTS[name]
    broken = dropped(model(layout), scales_of(name), only="layers.1.mlp.up_proj")
    assert "LW010" in errors(saved(broken, said))


@pytest.mark.parametrize("name", LAYOUTS)
def test_all_scales_gone_are_an_error(saved, name):
    said, layout = LAYOUTS[name]
    assert errors(saved(dropped(model(layout), scales_of(name)), said)) & {"LW010", "LW014"}


@pytest.mark.parametrize("name", LAYOUTS)
def test_one_modules_codes_gone_are_an_error(saved, name):
    said, layout = LAYOUTS[name]
    broken = dropped(model(layout), ends(name)[0], only="layers.0.self_attn.k_proj")
    assert "LW011" in errors(saved(broken, said))


@pytest.mark.parametrize("name", LAYOUTS)
def test_plain_weights_under_a_config_that_calls_them_quantized_are_an_error(saved, name):
    assert errors(saved(model(None), LAYOUTS[name][0])) == {"LW014"}


@pytest.mark.parametrize("name", LAYOUTS)
def test_codes_under_a_config_that_says_nothing_of_them_are_an_error(saved, name):
    assert "LW014" in errors(saved(model(LAYOUTS[name][1]), None))


OTHERS = [{"quant_method": "gptq", "bits": 4}, {"quant_method": "awq", "bits": 4}, BITS4, BITS8]


@pytest.mark.parametrize("name", LAYOUTS)
def test_codes_under_the_config_of_another_method_are_an_error(saved, name):
    own, layout = LAYOUTS[name]
    if name == "awq for one row":
        pytest.skip("its small layers have the shapes of another's")
    others = [said for said in OTHERS if said["quant_method"] != own["quant_method"]]
    others += {"nf4": [BITS8], "int8": [BITS4]}.get(name.split()[0], []) if own in (BITS4, BITS8) else []
    for said in others:
        assert "LW014" in errors(saved(model(layout), said)), said


@pytest.mark.parametrize("name", [name for name in LAYOUTS if not name.startswith(("nf4", "hqq", "modelopt"))])
def test_scales_of_an_integers_type_are_an_error(saved, name):
    said, layout = LAYOUTS[name]
    end = f".{scales_of(name)}"
    broken = {n: ("I32", o[1]) if n.endswith(end) else o for n, o in model(layout).items()}
    assert errors(saved(broken, said)) & {"LW012", "LW010"}


UNSHAPED = ("fp8 with one scale", "fp8 static", "hqq", "quanto", "torchao nvfp4", "torchao in tiles")
"""Of which any number of scales may be right, or a shape of their own."""


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name not in UNSHAPED])
def test_scales_of_another_layers_shape_are_an_error(saved, name):
    said, layout = LAYOUTS[name]
    tensors = model(layout)
    scale = f"model.layers.1.mlp.gate_proj.{scales_of(name)}"
    dtype, shape = tensors[scale]
    tensors[scale] = (dtype, [size - 1 if size > 2 else size for size in shape[:-1]] + [shape[-1] + 45])
    assert "LW016" in errors(saved(tensors, said))


@pytest.mark.parametrize("file", ["hf_quant_config", "quanto_qmap", "quantize_config", "quant_config"])
def test_a_tools_own_file_may_say_what_the_config_does_not(saved, file):
    assert errors(saved(model(LAYOUTS["gptq"][1]), None, **{file: "{}"})) == set()


def experts(name):
    """The experts of gpt-oss: codes of four bits, and scales of a power of two."""
    return {
        f"{name}.gate_up_proj_blocks": ("U8", [4, 128, 2, 16]),
        f"{name}.gate_up_proj_scales": ("U8", [4, 128, 2]),
        f"{name}.gate_up_proj_bias": ("BF16", [4, 128]),
        f"{name}.down_proj_blocks": ("U8", [4, 64, 2, 16]),
        f"{name}.down_proj_scales": ("U8", [4, 64, 2]),
        f"{name}.down_proj_bias": ("BF16", [4, 64]),
    }


def test_experts_in_blocks_need_their_scales_and_scales_their_blocks(saved):
    tensors = model(None) | experts("model.layers.0.mlp.experts") | experts("model.layers.1.mlp.experts")
    said = {"quant_method": "mxfp4"}
    assert errors(saved(tensors, said)) == set()
    assert errors(saved(dropped(tensors, "down_proj_scales", only="layers.1"), said)) == {"LW010"}
    assert errors(saved(dropped(tensors, "gate_up_proj_blocks", only="layers.0"), said)) == {"LW011"}
    assert "LW014" in errors(saved(tensors, None))
    wrong = {name: ("U8", [4, 128, 1]) if name.endswith("gate_up_proj_scales") else o for name, o in tensors.items()}
    assert errors(saved(wrong, said)) == {"LW016"}


def test_norms_that_call_their_weight_a_scale_are_no_scales(saved):
    tensors = {name: ("BF16", [64]) for name in ("norm.scale", "block.norm.scale", "block.scales", "zero.zero")}
    assert errors(saved(model(None) | tensors, None)) == set()
