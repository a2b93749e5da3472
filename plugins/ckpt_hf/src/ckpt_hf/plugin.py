"""The plugin's hooks for Hugging Face's layouts.

Each layout is a package; its modules are imported late.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ckpt_core import Format, FormatOption, LocationKind, hookimpl
from ckpt_core.layouts import Layout, LayoutTable

if TYPE_CHECKING:
    from ckpt_core import (
        Checkpoint,
        Files,
        Finding,
        FormatMatch,
        Irreparable,
        LoadRequest,
        Manifest,
        RepairAction,
        Target,
        VerifyReport,
        VerifyRequest,
    )

_LAYOUTS = LayoutTable(
    Layout("hf", "ckpt_hf.model", (".safetensors", ".bin", "config.json"), checks=True, repairs=True),
    Layout("accelerate", "ckpt_hf.accelerate", ("random_states_", "optimizer.bin")),
    Layout("diffusers", "ckpt_hf.diffusers", ("model_index.json", "diffusion_pytorch_model", "pytorch_lora_weights")),
    Layout("dylora", "ckpt_hf.dylora", ("peft_adapters", "router.", "trainer_state.json")),
    Layout("hf-trainer", "ckpt_hf.trainer", ("trainer_state.json", "training_args.bin", "rng_state")),
    Layout("lightning", "ckpt_hf.lightning", (".ckpt",), one_file=True),
    Layout("peft", "ckpt_hf.peft", ("adapter_config.json", "adapter_model.")),
    Layout("step-folder", "ckpt_hf.step_folder", ("optim", "sched", "rng", "random", "state", "step")),
    Layout("training-state", "ckpt_hf.training_state", ("training_state.pt",)),
)
"""What training leaves beside a model is checked when it is read, so that only the model itself has `checks`."""


@hookimpl
def formats() -> tuple[Format, ...]:
    return (
        Format(
            "hf",
            "a Hugging Face model directory: config.json and one file, or shards and an index, .safetensors or .bin",
            options=(
                FormatOption("variant", "read this variant's weights: fp16 for model.fp16.safetensors", writes=False),
                FormatOption(
                    "max_shard_size", "write shards of at most this: 5GB, 200MB, 1GiB; 50GB by default", reads=False
                ),
                FormatOption("weights", "write safetensors (the default) or bin", reads=False),
            ),
            writes=LocationKind.DIRECTORY,
            holds=("model", "ema", "config"),
        ),
        Format(
            "hf-trainer",
            "a checkpoint of transformers' Trainer: weights or an adapter, and the state to train on",
            base="hf",
            options=(FormatOption("variant", "read this variant's weights: fp16 for model.fp16.safetensors"),),
        ),
        Format(
            "accelerate",
            "what Accelerate's save_state writes: models, optimizers, schedulers and random states, a file each",
            base="hf",
        ),
        Format(
            "diffusers",
            "a pipeline of diffusers, one component of it, a LoRA, or the checkpoint of a training",
            base="hf",
            options=(FormatOption("variant", "read this variant's weights of a component: fp16", writes=False),),
        ),
        Format("dylora", "a checkpoint of DyLoRA-MoE: experts as adapters, and their router", base="hf-trainer"),
        Format("lightning", "a .ckpt file of Lightning's Trainer: weights, and the state to train on", base="torch"),
        Format("peft", "adapters that PEFT saves: adapter_model.safetensors or .bin and adapter_config.json"),
        Format("step-folder", "a model and its training state in sibling folders, as lerobot writes them"),
        Format(
            "training-state",
            "a checkpoint of ModularTrainer: a model directory with training_state.pt",
            base="hf",
            options=(
                FormatOption("variant", "read this variant's weights: fp16 for model.fp16.safetensors", writes=False),
                FormatOption(
                    "max_shard_size", "write shards of at most this: 5GB, 200MB, 1GiB; 50GB by default", reads=False
                ),
            ),
            writes=LocationKind.DIRECTORY,
        ),
    )


@hookimpl
def detect_format(files: "Files") -> "Iterator[FormatMatch]":
    return _LAYOUTS.find(files)


@hookimpl
def load(files: "Files", match: "FormatMatch", request: "LoadRequest") -> "Checkpoint":
    return _LAYOUTS.read(files, match, request)


@hookimpl
def save(checkpoint: "Checkpoint", target: "Target") -> "Manifest":
    return _LAYOUTS.write(checkpoint, target)


@hookimpl
def verify(files: "Files", checkpoint: "Checkpoint | None", request: "VerifyRequest") -> "Iterator[Finding]":
    yield from _LAYOUTS.check(files, checkpoint, request)
    if checkpoint is not None and checkpoint.match.format in _LAYOUTS and request.profile is not None:
        from ckpt_hf.laws.checks import check

        yield from check(files, checkpoint, request)


@hookimpl
def repair(files: "Files", report: "VerifyReport") -> "Iterator[RepairAction | Irreparable]":
    return _LAYOUTS.propose(files, report)
