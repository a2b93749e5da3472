"""What trainers save, made small: weights, optimizers, random states, as the bytes that torch's own writers make."""

import io
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

RANKS = 2


def as_json(content: Any) -> bytes:
    return json.dumps(content).encode()


def saved(content: Any) -> bytes:
    """What torch.save writes."""
    import torch

    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()


def weights(prefix: str = "", value: float = 1.0) -> dict[str, Any]:
    """A state dict of two tensors whose rows no two ranks share alike."""
    import torch

    return {
        f"{prefix}up.weight": torch.arange(15.0).reshape(3, 5) + value,
        f"{prefix}up.bias": torch.arange(3.0) + value,
    }


def safetensors_of(tensors: Mapping[str, Any]) -> bytes:
    from safetensors.torch import save

    return save(dict(tensors), {"format": "pt"})


def optimizer_state() -> dict[str, Any]:
    """Of an AdamW that has taken a step."""
    import torch

    moments = [{"step": torch.tensor(1.0), "exp_avg": t, "exp_avg_sq": t * t} for t in weights().values()]
    options = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "params": [0, 1]}
    return {"state": dict(enumerate(moments)), "param_groups": [options]}


def scheduler_state() -> dict[str, Any]:
    return {"base_lrs": [0.1], "last_epoch": 4, "_step_count": 5, "_last_lr": [0.05]}


def random_state() -> dict[str, Any]:
    import random

    import torch

    return {"python": random.Random(3).getstate(), "cpu": torch.Generator().manual_seed(3).get_state()}


def dcp_files(state: Mapping[str, Any], below: str = "") -> dict[str, bytes]:
    """What stock torch.distributed.checkpoint saves of a state: its data, then `.metadata`."""
    import torch.distributed.checkpoint as dcp

    with tempfile.TemporaryDirectory() as folder:
        dcp.save(dict(state), checkpoint_id=folder, no_dist=True)
        return {f"{below}{name}": (Path(folder) / name).read_bytes() for name in ("__0_0.distcp", ".metadata")}


def rank_files(name_of_rank: Callable[[int], str], state: Callable[[], Any] = weights) -> dict[str, bytes]:
    """A state with its tensors as DTensors cut in rows, a file a rank; the group only pretends to communicate."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.testing._internal.distributed.fake_pg import FakeStore

    hook, found = sys.excepthook, {}
    for rank in range(RANKS):
        dist.init_process_group("fake", rank=rank, world_size=RANKS, store=FakeStore())
        mesh = init_device_mesh("cpu", (RANKS,))
        found[name_of_rank(rank)] = saved(_spread(state(), mesh))
        dist.destroy_process_group()
        sys.excepthook = hook
    return found


def _spread(value: Any, mesh: Any) -> Any:
    import torch
    from torch.distributed.tensor import Shard, distribute_tensor

    if isinstance(value, dict):
        return {key: _spread(item, mesh) for key, item in value.items()}
    if isinstance(value, torch.Tensor) and value.ndim:
        return distribute_tensor(value, mesh, [Shard(0)], src_data_rank=None)
    return value
