"""Load a distributed checkpoint into sharded tensors and compare them: `dcp_load_sharded.py CHECKPOINT WHOLE.pt`."""

import sys

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

dist.init_process_group("gloo")
mesh = init_device_mesh("cpu", (dist.get_world_size(),))
whole = torch.load(sys.argv[2], weights_only=True)["model"]
rows = {name: tensor for name, tensor in whole.items() if tensor.dtype is torch.float32 and tensor.numel() > 1}
state = {"model": {name: distribute_tensor(torch.zeros_like(t), mesh, [Shard(0)]) for name, t in rows.items()}}
dcp.load(state, checkpoint_id=sys.argv[1])
for name, tensor in state["model"].items():
    assert torch.equal(tensor.full_tensor(), whole[name]), name
dist.destroy_process_group()
