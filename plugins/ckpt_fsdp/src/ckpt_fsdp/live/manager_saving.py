"""The saving half of BAGEL's sharded checkpoint manager.

Every rank writes its share, and the step appears whole.

All ranks write into one folder beside the step's. `metadata.json` comes last, and then rank 0 gives it its name.
"""

import json
import os
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions

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
) -> str:
    """Write a step on all ranks.

    See `ShardedCheckpointManager.save_sharded_checkpoint`.
    """
    if "://" in ckpt_dir:
        raise UsageError(f"{argument('ckpt_dir')}: a folder on a disk or a mount that all ranks share is needed")
    folder = os.path.join(ckpt_dir, f"{train_steps:07d}")
    stage = os.path.join(ckpt_dir, f".{train_steps:07d}.saving")
    with torchrun_ranks() as ranks:
        ranks.together(lambda: _begin(folder, stage) if ranks.leads else None)
        try:
            for kind, module in (("model", model), ("ema", ema_model)):
                if module is not None:
                    _save_weights(module, stage, kind, ranks, use_dcp)
            state = optimizer_state(model, optimizer, _OFFLOADED)
            ranks.together(lambda: _write(stage, f"optimizer_rank{ranks.rank:05d}.pt", state))
            if save_full_model:
                _save_full(model, stage, ranks)
            facts = {
                "train_steps": train_steps,
                "world_size": ranks.world,
                "checkpoint_type": "sharded",
                "has_ema": ema_model is not None,
                "has_scheduler": scheduler is not None,
                "has_data_status": data_status is not None,
            }
            beside = {SCHEDULER: None if scheduler is None else scheduler.state_dict(), DATA: data_status}
            ranks.together(lambda: _end(folder, stage, facts, beside) if ranks.leads else None)
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


def _save_weights(module: "torch.nn.Module", stage: str, kind: str, ranks: Ranks, use_dcp: bool) -> None:
    state = model_state(module, _OFFLOADED)
    if use_dcp:
        place = os.path.join(stage, f"{kind}_sharded")
        save({"model": state}, place, format="dcp", options={"flat": True}, ranks=ranks)
    else:
        ranks.together(lambda: _write(stage, f"{kind}_rank{ranks.rank:05d}.pt", state))


def _save_full(model: "torch.nn.Module", stage: str, ranks: Ranks) -> None:
    """Write all weights into one file, which rank 0 holds whole."""
    state = model_state(model, StateDictOptions(full_state_dict=True, cpu_offload=True))
    ranks.together(lambda: _keep(save({"model": state}, os.path.join(stage, COPY))) if ranks.leads else None)


def _keep(_: object) -> None:
    """Give nothing of a report to the other ranks."""


def _write(stage: str, name: str, value: Any) -> None:
    _synced(os.path.join(stage, name), lambda file: torch.save(value, file))


def _end(folder: str, stage: str, facts: dict[str, Any], beside: dict[str, Any]) -> None:
    for name, value in beside.items():
        if value is not None:
            _write(stage, name, value)
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
