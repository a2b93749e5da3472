"""A DCP directory as FSDP2 leaves it on 4 ranks, model and average in F32; run by torchrun: `dcp_model.py OUT LAYERS`."""

import sys

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor


def main(folder: str, layers: int) -> None:
    """Save `layers` times 8 MiB of each of model and average, every tensor cut along its rows."""
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    torch.manual_seed(0)
    state = {
        kind: {f"layers.{i}.w": distribute_tensor(torch.randn(2048, 1024), mesh, [Shard(0)]) for i in range(layers)}
        for kind in ("model", "ema")
    }
    dcp.save({"model": state["model"]}, checkpoint_id=f"{folder}/model")
    dcp.save(state, checkpoint_id=f"{folder}/both")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
