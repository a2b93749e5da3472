"""Saves a stage's weights and its resume file.

They have minimind's names; a training goes on from the resume file.
"""

import argparse
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ckpt_core
from ckpt_core import LoadError, UsageError, printable
from ckpt_minillm.model_shape import is_lora
from ckpt_minillm.naming import WeightsName, stage_of
from ckpt_minillm.trainer.arguments import DTYPES
from ckpt_minillm.trainer.log import Voice
from ckpt_minillm.trainer.ranks import world_size_of, writes
from ckpt_minillm.trainer.reports import SaveReports
from ckpt_minillm.trainer.restoring import label_of

if TYPE_CHECKING:
    import torch


def save_checkpoint(
    model: "torch.nn.Module",
    args: argparse.Namespace,
    *,
    optimizer: "torch.optim.Optimizer | None" = None,
    epoch: int = 0,
    step: int = 0,
    scheduler: Any = None,
    scaler: Any = None,
    extra: Mapping[str, Any] | None = None,
    wandb_id: str | None = None,
    stage: str | None = None,
    adapter: bool = False,
    weights_dtype: "torch.dtype | str | None" = None,
    allow_overflow: bool = False,
    world_size: int | None = None,
) -> SaveReports:
    """Write a stage's weights, and with an optimizer its resume file.

    They are `{stage}_{hidden_size}[_moe].pth` in `--out_dir`, and `…_resume.pth` beside it.

    Each file is written whole or not at all, proved by reading it back, and sealed with its epoch and step; what had
    its name is replaced. The resume file keeps the types of the training: minimind's own halves the model in it.

    Args:
        model: Wrapped in DistributedDataParallel or compiled, or plain.
        args: The parsed arguments.
        optimizer: What the training goes on with; None for the weights alone.
        epoch: The epoch, from 0.
        step: Batches of it that are done, on each rank.
        scheduler: Saved in the resume file.
        scaler: Saved in the resume file.
        extra: More of it, by minimind's keys: `critic_model`, `critic_optimizer`, `critic_scheduler`, plain values.
        wandb_id: The run to go on with.
        stage: The stage, in place of `--save_weight`.
        adapter: Let the weights be those of the LoRA alone.
        weights_dtype: The type of the weights, in place of `--weights_dtype`; None for that of the training.
        allow_overflow: Let finite values that are too large for the type become infinite.
        world_size: Ranks that train; None for torch's own number.

    Returns:
        What was written; nothing on ranks other than the first.

    Raises:
        LoadError: CA001, values are too large for the type of the weights; nothing was written.
        CkptError: It cannot be written; what was there is as it was.
    """
    if not writes():
        return SaveReports()
    name = WeightsName(stage_of(stage or args.save_weight), args.hidden_size, args.use_moe)
    tensors = _bare(model).state_dict()
    weights = _weights(tensors, adapter, weights_dtype or args.weights_dtype, allow_overflow)
    progress = {"epoch": epoch, "step": step, "world_size": world_size_of(world_size), "wandb_id": wandb_id}
    parts = {"optimizer": optimizer, "scheduler": scheduler, "scaler": scaler, **(extra or {})}
    training = None if optimizer is None else _training(tensors, progress, parts)
    recorded = {**progress, "stage": name.stage}
    written = ckpt_core.save(
        weights, os.path.join(args.out_dir, str(name)), format="minillm", force=True, provenance=recorded
    )
    if training is None:
        return SaveReports(written)
    place = os.path.join(args.out_dir, str(name.for_resume()))
    return SaveReports(
        written, ckpt_core.save(training, place, format="minillm-resume", force=True, provenance=recorded)
    )


def _bare(model: "torch.nn.Module") -> "torch.nn.Module":
    """Return the model inside of the wrappers that rename tensors."""
    from torch.nn import DataParallel
    from torch.nn.parallel import DistributedDataParallel

    while True:
        if isinstance(model, DataParallel | DistributedDataParallel):
            model = model.module
        elif hasattr(model, "_orig_mod"):
            model = model._orig_mod
        else:
            return model


def _weights(
    tensors: "Mapping[str, torch.Tensor]", adapter: bool, dtype: "torch.dtype | str | None", allow_overflow: bool
) -> dict[str, Any]:
    """Return the state to save.

    It is a flat table, or a LoRA's under `adapter`.
    """
    kept = {name: tensor for name, tensor in tensors.items() if not adapter or is_lora(name)}
    if not kept:
        raise UsageError("adapter=True: the model has no tensor of a LoRA (MODULE.lora.A.weight); save it whole")
    if dtype is not None:
        kept = _cast(kept, _dtype(dtype), allow_overflow)
    return {"adapter": kept} if adapter else kept


def _dtype(given: "torch.dtype | str") -> "torch.dtype":
    import torch

    name = str(given).removeprefix("torch.")
    if name not in DTYPES:
        raise UsageError(f"weights_dtype {printable(str(given))}: not one of {', '.join(DTYPES)}")
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def _cast(
    tensors: "Mapping[str, torch.Tensor]", dtype: "torch.dtype", allow_overflow: bool
) -> "dict[str, torch.Tensor]":
    """Return floating tensors in another type, on the CPU.

    One storage stays one.
    """
    import torch

    done: dict[tuple[int, torch.Size, tuple[int, ...]], torch.Tensor] = {}
    result = {}
    for name, tensor in tensors.items():
        key = (tensor.data_ptr(), tensor.shape, tensor.stride())
        if not tensor.is_floating_point() or tensor.dtype is dtype:
            result[name] = tensor
        elif key in done and tensor.numel():
            result[name] = done[key]
        else:
            result[name] = done[key] = _cast_one(name, tensor.detach(), dtype, allow_overflow)
    return result


def _cast_one(name: str, tensor: "torch.Tensor", dtype: "torch.dtype", allow_overflow: bool) -> "torch.Tensor":
    import torch

    cast = tensor.to("cpu", dtype)
    lost = int(torch.isinf(cast).sum()) - int(torch.isinf(tensor).sum())
    if lost > 0:
        words = f"{printable(name)}: {lost} finite values are too large for {str(dtype).removeprefix('torch.')}"
        if not allow_overflow:
            raise LoadError(
                f"{words}; nothing was written; choose bfloat16, or keep float32", code="CA001", tensor=name
            )
        Voice(None).warn(f"{words} and become infinite, as allow_overflow says")
    return cast


def _training(
    tensors: "Mapping[str, torch.Tensor]", progress: dict[str, Any], parts: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the state that a training resumes from, by component."""
    state: dict[str, Any] = {"model": tensors, "progress": dict(progress)}
    for key, part in parts.items():
        if part is None:
            continue
        if hasattr(part, "state_dict"):
            held = _bare(part).state_dict() if hasattr(part, "named_parameters") else part.state_dict()
            state[label_of(key)] = held
        else:
            state["progress"][key] = part
    return state
