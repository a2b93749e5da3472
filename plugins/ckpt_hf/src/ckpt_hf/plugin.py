"""The hooks: Hugging Face's layouts found, read, written, checked. Each is a package; its modules are imported late."""

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ckpt_core import Format, FormatOption, Kind, hookimpl

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
        StoredCheckpoint,
        Target,
        VerifyReport,
        VerifyRequest,
    )

_LAYOUTS = {
    "hf": "ckpt_hf.model",
    "accelerate": "ckpt_hf.accelerate",
    "diffusers": "ckpt_hf.diffusers",
    "dylora": "ckpt_hf.dylora",
    "hf-trainer": "ckpt_hf.trainer",
    "lightning": "ckpt_hf.lightning",
    "peft": "ckpt_hf.peft",
    "step-folder": "ckpt_hf.step_folder",
    "training-state": "ckpt_hf.training_state",
}
"""The package of each format. A hook calls one function of one module in it, which is imported then:
`detection.find(files)` and `opening.read(files, match, request)`; of the model directory itself there are also
`checks.check(files, checkpoint, request)`, `writing.write(checkpoint, target)` and `mending.mend(files, report)`. What
training leaves beside a model is checked when it is read."""

_SIGNS = {
    "hf": (".safetensors", ".bin", "config.json"),
    "accelerate": ("random_states_", "optimizer.bin"),
    "diffusers": ("model_index.json", "diffusion_pytorch_model", "pytorch_lora_weights"),
    "dylora": ("peft_adapters", "router.", "trainer_state.json"),
    "hf-trainer": ("trainer_state.json", "training_args.bin", "rng_state"),
    "lightning": (".ckpt",),
    "peft": ("adapter_config.json", "adapter_model."),
    "step-folder": ("optim", "sched", "rng", "random", "state", "step"),
    "training-state": ("training_state.pt",),
}
"""Of each format: every such directory has a path with one of these in it. Its rules are only imported where one is."""


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
            writes=Kind.DIRECTORY,
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
            options=(FormatOption("variant", "read this variant's weights: fp16 for model.fp16.safetensors"),),
        ),
    )


@hookimpl
def detect_format(files: "Files") -> "Iterator[FormatMatch]":
    if files.location.kind is Kind.FILE:
        yield from _module("lightning", "detection").find(files)
        return
    paths = "\n".join((*files.entries, *files.skipped))
    for name, signs in _SIGNS.items():
        if any(sign in paths for sign in signs):
            yield from _module(name, "detection").find(files)


@hookimpl
def load(files: "Files", match: "FormatMatch", request: "LoadRequest") -> "StoredCheckpoint":
    checkpoint: StoredCheckpoint = _module(match.format, "opening").read(files, match, request)
    return checkpoint


@hookimpl
def save(checkpoint: "Checkpoint", target: "Target") -> "Manifest":
    manifest: Manifest = _module(target.format, "writing").write(checkpoint, target)
    return manifest


@hookimpl
def verify(files: "Files", checkpoint: "Checkpoint | None", request: "VerifyRequest") -> "Iterator[Finding]":
    """What a model directory checks, also of one that did not open."""
    if checkpoint is None or checkpoint.match.format == "hf":
        yield from _module("hf", "checks").check(files, checkpoint, request)
    if checkpoint is not None and checkpoint.match.format in _LAYOUTS and request.profile is not None:
        yield from import_module("ckpt_hf.laws.checks").check(files, checkpoint, request)


@hookimpl
def repair(files: "Files", report: "VerifyReport") -> "Iterator[RepairAction | Irreparable]":
    mended: Iterator[RepairAction | Irreparable] = _module("hf", "mending").mend(files, report)
    return mended


def _module(format: str, name: str) -> Any:
    return import_module(f"{_LAYOUTS[format]}.{name}")
