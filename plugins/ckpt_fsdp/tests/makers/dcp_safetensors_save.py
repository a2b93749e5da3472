"""`HuggingFaceStorageWriter` under DCP, of FSDP2's DTensors and of a tensor that every rank holds whole.

Run as: dcp_safetensors_save.py OUT. OUT gets `bare` (shards and nothing else), `indexed` (tensors spread over two
files a rank), `whole` (consolidated, its shards in `sharded/`), `rank0` (no sharding at all) and `whole.pt`.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

OUT = Path(sys.argv[1])

dist.init_process_group("gloo")
world = dist.get_world_size()
mesh = init_device_mesh("cpu", (world,))
torch.manual_seed(0)
WHOLE = {
    "embed.weight": torch.randn(13, 4),  # 13 rows do not divide: the last rank has fewer
    "layer.weight": torch.randn(6, 8).bfloat16(),  # by columns
    "layer.bias": torch.randn(1),  # fewer rows than ranks: all but the first have none
    "norm.weight": torch.randn(8),  # on every rank
    "scale": torch.tensor(0.5),  # no dimension at all
}
PLACES = {"embed.weight": Shard(0), "layer.weight": Shard(1), "layer.bias": Shard(0), "norm.weight": Replicate()}
state = {
    name: distribute_tensor(tensor, mesh, [PLACES[name]]) if name in PLACES else tensor
    for name, tensor in WHOLE.items()
}
files = dict.fromkeys(state, 1) | {"embed.weight": 2}


def write(name, **options):
    dcp.save(state, storage_writer=dcp.HuggingFaceStorageWriter(str(OUT / name), **options))


write("bare", save_distributed=True)
write("indexed", save_distributed=True, fqn_to_index_mapping=files)
write("whole", save_distributed=True, enable_consolidation=True)
write("whole2", save_distributed=True, enable_consolidation=True, fqn_to_index_mapping=files)
if dist.get_rank() == 0:
    alone = dcp.HuggingFaceStorageWriter(str(OUT / "rank0"))
    dcp.save(WHOLE, storage_writer=alone, no_dist=True)
    torch.save(WHOLE, OUT / "whole.pt")
dist.barrier()
dist.destroy_process_group()
