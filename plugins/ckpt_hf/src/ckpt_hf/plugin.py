"""The hooks: Hugging Face model directories found, read, written, checked. Heavy modules are imported when needed."""

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
    "accelerate": "ckpt_hf.accelerate",
    "diffusers": "ckpt_hf.diffusers",
    "dylora": "ckpt_hf.dylora",
    "hf-trainer": "ckpt_hf.trainer",
    "lightning": "ckpt_hf.lightning",
    "peft": "ckpt_hf.peft",
    "training-state": "ckpt_hf.training_state",
}
"""The module of each training layout: `find(files)`, and `read(files, match, request)`."""


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
        Format(
            "training-state",
            "a checkpoint of ModularTrainer: a model directory with training_state.pt",
            base="hf",
            options=(FormatOption("variant", "read this variant's weights: fp16 for model.fp16.safetensors"),),
        ),
    )


@hookimpl
def detect_format(files: "Files") -> "Iterator[FormatMatch]":
    if files.location.kind is not Kind.FILE:
        from ckpt_hf.detection import find_models

        yield from find_models(files)
    for name in _LAYOUTS if files.location.kind is not Kind.FILE else ("lightning",):
        yield from _layout(name).find(files)


@hookimpl
def load(files: "Files", match: "FormatMatch", request: "LoadRequest") -> "StoredCheckpoint":
    if match.format in _LAYOUTS:
        checkpoint: StoredCheckpoint = _layout(match.format).read(files, match, request)
        return checkpoint
    from ckpt_hf.opening import open_model

    return open_model(files, match, request)


@hookimpl
def save(checkpoint: "Checkpoint", target: "Target") -> "Manifest":
    from ckpt_hf.writing import save_model

    return save_model(checkpoint, target)


@hookimpl
def verify(files: "Files", checkpoint: "Checkpoint | None", request: "VerifyRequest") -> "Iterator[Finding]":
    if checkpoint is not None and checkpoint.match.format in _LAYOUTS:
        return
    from ckpt_hf.checks import check_model

    yield from check_model(files, checkpoint, request)


@hookimpl
def repair(files: "Files", report: "VerifyReport") -> "Iterator[RepairAction | Irreparable]":
    from ckpt_hf.mending import mend_models

    return mend_models(files, report)


def _layout(name: str) -> Any:
    return import_module(_LAYOUTS[name])
