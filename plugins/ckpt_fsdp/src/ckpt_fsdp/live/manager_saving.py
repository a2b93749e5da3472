"""The saving half of BAGEL's sharded checkpoint manager.

Every rank writes its share, and the step appears whole.

All ranks write into one folder beside the step's. `metadata.json` comes last, and then rank 0 gives it its name. Whole
weights have the names of BAGEL's own trainers, which have no `metadata.json`.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions
from torch.distributed.fsdp import FullyShardedDataParallel

from ckpt_core import OverwriteError, Ranks, UsageError, argument, printable, save, torchrun_ranks
from ckpt_core.training import model_state, optimizer_state
from ckpt_fsdp.bagel_names import COPY, DATA, METADATA, SCHEDULER

if TYPE_CHECKING:
    from torch.distributed.checkpoint.stateful import Stateful

_OFFLOADED = StateDictOptions(cpu_offload=True)


def save_step(
    ckpt_dir: str,
    train_steps: int,
    model: "torch.nn.Module",
    ema_model: "torch.nn.Module | None",
    optimizer: "torch.optim.Optimizer",
    scheduler: "Stateful | None",
    data_status: Any,
    logger: Any,
    save_full_model: bool,
    use_dcp: bool,
    options: StateDictOptions | None,
) -> str:
    """Write a step on all ranks.

    See `ShardedCheckpointManager.save_sharded_checkpoint`.
    """
    if "://" in ckpt_dir:
        raise UsageError(f"{argument('ckpt_dir')}: a folder on a disk or a mount that all ranks share is needed")
    options = options or _OFFLOADED
    if options.flatten_optimizer_state_dict:
        raise UsageError(
            f"{argument('state_dict_options')}: flatten_optimizer_state_dict: no layout of BAGEL's has it; leave it out"
        )
    folder = os.path.join(ckpt_dir, f"{train_steps:07d}")
    stage = os.path.join(ckpt_dir, f".{train_steps:07d}.saving")
    with torchrun_ranks() as ranks:
        ranks.together(lambda: _begin(folder, stage) if ranks.leads else None)
        try:
            for kind, module in (("model", model), ("ema", ema_model)):
                if module is not None:
                    _save_weights(module, stage, kind, ranks, use_dcp, options)
            _save_optimizer(model, optimizer, stage, ranks, options)
            if save_full_model:
                _save_whole(model, stage, COPY, ranks, options)
            facts = {
                "train_steps": train_steps,
                "world_size": ranks.world,
                "checkpoint_type": "sharded",
                "has_ema": ema_model is not None,
                "has_scheduler": scheduler is not None,
                "has_data_status": data_status is not None,
            }
            beside = {SCHEDULER: None if scheduler is None else scheduler.state_dict(), DATA: data_status}
            said = None if options.full_state_dict else facts
            ranks.together(lambda: _end(folder, stage, said, beside) if ranks.leads else None)
        except BaseException:
            if ranks.leads:
                shutil.rmtree(stage, ignore_errors=True)
            raise
    logger.info(f"saved {printable(folder)}")
    return folder


def _begin(folder: str, stage: str) -> None:
    if os.path.lexists(folder):
        raise OverwriteError(
            f"{printable(folder)}: a checkpoint of this step is there; remove it first, or go on from it"
        )
    shutil.rmtree(stage, ignore_errors=True)
    os.makedirs(stage)


def _save_weights(
    module: "torch.nn.Module", stage: str, kind: str, ranks: Ranks, use_dcp: bool, options: StateDictOptions
) -> None:
    if options.full_state_dict:
        _save_whole(module, stage, f"{kind}.safetensors", ranks, options)
        return
    state = model_state(module, options)
    if use_dcp:
        place = os.path.join(stage, f"{kind}_sharded")
        save({"model": state}, place, format="dcp", options={"flat": True}, ranks=ranks)
    else:
        ranks.together(lambda: _write(stage, f"{kind}_rank{ranks.rank:05d}.pt", state))


def _save_whole(module: "torch.nn.Module", stage: str, name: str, ranks: Ranks, options: StateDictOptions) -> None:
    """Write all weights into one file, which rank 0 holds whole."""
    state = model_state(module, replace(options, full_state_dict=True))
    ranks.together(lambda: _keep(save({"model": state}, os.path.join(stage, name))) if ranks.leads else None)


def _save_optimizer(
    model: "torch.nn.Module",
    optimizer: "torch.optim.Optimizer",
    stage: str,
    ranks: Ranks,
    options: StateDictOptions,
) -> None:
    """Write each rank's part of the optimizer.

    It is by names beside shards, and as the optimizer has it beside whole weights.
    """
    if not options.full_state_dict:
        name, state = f"optimizer_rank{ranks.rank:05d}.pt", optimizer_state(model, optimizer, options)
    elif isinstance(model, FullyShardedDataParallel):
        shard, count = shard_of(model)
        name, state = f"optimizer.{shard:05d}-of-{count:05d}.pt", optimizer.state_dict()
        if ranks.rank >= count:  # HYBRID_SHARD: another rank has the same
            ranks.together(lambda: None)
            return
    else:
        name, state = f"optimizer_rank{ranks.rank:05d}_of{ranks.world:05d}.pt", optimizer.state_dict()
    ranks.together(lambda: _write(stage, name, state))


def shard_of(model: FullyShardedDataParallel) -> tuple[int, int]:
    """Return which of how many flat shards this rank has."""
    group: Any = model.process_group
    return int(group.rank()), int(group.size())


def _keep(_: object) -> None:
    """Give nothing of a report to the other ranks."""


def _write(stage: str, name: str, value: Any) -> None:
    _synced(os.path.join(stage, name), lambda file: torch.save(value, file))


def _end(folder: str, stage: str, facts: dict[str, Any] | None, beside: dict[str, Any]) -> None:
    for name, value in beside.items():
        if value is not None:
            _write(stage, name, value)
    if facts is not None:
        _synced(os.path.join(stage, METADATA), lambda file: file.write(json.dumps(facts, indent=2).encode()))
    _sync_folder(stage)
    os.rename(stage, folder)
    _sync_folder(os.path.dirname(folder) or os.curdir)


def _synced(path: str, write: Callable[[Any], object]) -> None:
    with open(path, "xb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
