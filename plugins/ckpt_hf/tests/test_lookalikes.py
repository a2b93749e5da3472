"""No two formats claim one directory equally, whichever plugins are installed; most names decide with empty files."""

import json

import pytest

import ckpt_core

STATE = ("optimizer.bin", "scheduler.bin", "random_states_0.pkl")
TRAINER = ("trainer_state.json", "training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth")
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
UNET = ("unet/config.json", "unet/diffusion_pytorch_model.safetensors")
MODEL = ("config.json", "model.safetensors")
EXPERTS = tuple(f"peft_adapters/expert_{i}/expert_{i}/{name}" for i in range(2) for name in ADAPTER)

PLACES = {
    "accelerate": (("model.safetensors", *STATE), "accelerate"),
    "accelerate, with a config": ((*MODEL, *STATE), "accelerate"),
    "accelerate, old": (("pytorch_model.bin", *STATE), "accelerate"),
    "accelerate, stopped": (("model.safetensors", "optimizer.bin"), "accelerate"),
    "accelerate, with an adapter": ((*ADAPTER, *STATE), "accelerate"),
    "accelerate, models below": (("encoder/config.json", "encoder/model.safetensors", *STATE), "accelerate"),
    "accelerate under deepspeed": (
        (*STATE[1:], "pytorch_model/mp_rank_00_model_states.pt", "latest", "zero_to_fp32.py"),
        "deepspeed",
    ),
    "accelerate under fsdp": (("pytorch_model_fsdp_0/.metadata", "pytorch_model_fsdp_0/__0_0.distcp", *STATE), "fsdp"),
    "accelerate under fsdp, in one file": (("pytorch_model_fsdp.bin", *STATE), "fsdp"),
    "trainer": ((*MODEL, *TRAINER), "hf-trainer"),
    "trainer, adapter": ((*ADAPTER, *TRAINER), "hf-trainer"),
    "trainer, named adapter": ((*(f"style/{name}" for name in ADAPTER), *TRAINER), "hf-trainer"),
    "modular": ((*MODEL, "training_state.pt"), "training-state"),
    "peft": (ADAPTER, "peft"),
    "peft, bin": (("adapter_config.json", "adapter_model.bin", "README.md"), "peft"),
    "peft, config alone": (("adapter_config.json",), "peft"),
    "peft, weights alone": (("adapter_model.safetensors",), "peft"),
    "peft, named": (tuple(f"{name}/{file}" for name in ("a", "b") for file in ADAPTER), "peft"),
    "model beside an adapter's config": ((*MODEL, "adapter_config.json"), "hf"),
    "model with a lost adapter": ((*MODEL, "adapter_model.safetensors"), "hf"),
    "model and adapter": ((*MODEL, *ADAPTER), "peft"),
    "pipeline": (("model_index.json", *UNET), "diffusers"),
    "component": (tuple(name.removeprefix("unet/") for name in UNET), "diffusers"),
    "component without config": (("diffusion_pytorch_model.safetensors",), "diffusers"),
    "diffusers training": ((*UNET, *STATE), "diffusers"),
    "diffusers training, lora": (("pytorch_lora_weights.safetensors", *STATE), "diffusers"),
    "lora of diffusers": (("pytorch_lora_weights.safetensors",), "diffusers"),
    "dylora": (("config.json", "router.safetensors", *EXPERTS, *TRAINER), "dylora"),
    "dylora without a config": (("router.safetensors", *EXPERTS), "dylora"),
    "dylora, weights kept": ((*MODEL, *EXPERTS, *TRAINER), "dylora"),
    "dylora, state alone": (("dylo_moe_state/router.pt",), None),
    "run of a trainer": (tuple(f"checkpoint-{n}/{name}" for n in (1, 2) for name in (*MODEL, *TRAINER)), None),
    "run of a trainer, with its last state": (
        ("trainer_state.json", *(f"checkpoint-1/{name}" for name in (*MODEL, *TRAINER))),
        None,
    ),
    "run of diffusers": (tuple(f"checkpoint-{n}/{name}" for n in (1, 2) for name in (*UNET, *STATE)), None),
    "pipeline with trainings below": (
        ("model_index.json", *UNET, *(f"checkpoint-1/{name}" for name in (*UNET, *STATE))),
        "diffusers",
    ),
}


def detected(folder):
    files = ckpt_core.list_files(str(folder))
    return ckpt_core.get_plugin_manager().hooks.detect_format(files=files)


@pytest.mark.parametrize("place", PLACES)
def test_one_format_claims_a_directory(tmp_path, place):
    names, expected = PLACES[place]
    for name in names:
        path = tmp_path / "x" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x80torch.distributed.checkpoint.metadata" if name.endswith(".metadata") else b"")
    found = detected(tmp_path / "x")
    assert not found.rivals, [(match.format, match.confidence) for match in found.rivals]
    assert (found.best.format if found.best else None) == expected
    roots = [match.root for match in found.members]
    assert len(roots) == len(set(roots)), found.members


@pytest.mark.parametrize("content", ["", "[]", "{", '{"model_type": 3}', '"x"', "null"])
def test_a_config_that_is_none_decides_nothing(tmp_path, content):
    for name in (*EXPERTS, "config.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"):
        (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / name).write_text(content)
    assert detected(tmp_path / "x").best.format == "dylora"


def test_a_hostile_index_costs_a_line_for_each_name_and_opens_nothing(tmp_path):
    index = {f"part{number}": ["diffusers", "UNet2DModel"] for number in range(3000)}
    index |= {"/etc": ["a", "b"], "x\x1b[2J": ["a", "b"], "": ["a", "b"], "n": [1, 2], "m": ["a"], "o": {}}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    report = ckpt_core.verify(str(tmp_path), profile=ckpt_core.Profile.INFERENCE).report
    assert report.assessment.verdict.value == "PARTIAL"
