"""The kit that every format must pass, on rank files and BAGEL's directories of two ranks that torch wrote."""

import json
import sys
from pathlib import Path

from ckpt_core.testing import FormatTests, Sample, as_torch

RANKS = 2


def save_ranks(sample: Sample, name_of_rank) -> None:
    """The tensors of a sample as DTensors, cut in rows, in a file a rank; the group only pretends to communicate."""
    import torch
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor
    from torch.testing._internal.distributed.fake_pg import FakeStore

    hook = sys.excepthook
    for rank in range(RANKS):
        dist.init_process_group("fake", rank=rank, world_size=RANKS, store=FakeStore())
        mesh = init_device_mesh("cpu", (RANKS,))
        spread = {
            name: distribute_tensor(tensor, mesh, [Shard(0) if tensor.ndim else Replicate()], src_data_rank=None)
            for name, tensor in as_torch(sample).items()
        }
        torch.save(spread, name_of_rank(rank))
        dist.destroy_process_group()
        sys.excepthook = hook


class TestRankFiles(FormatTests):
    format = "fsdp-ranks"
    plugin_module = "ckpt_fsdp.plugin"

    def write(self, folder: Path, sample: Sample) -> Path:
        save_ranks(sample, lambda rank: folder / f"model_world_size_{RANKS}_rank_{rank}.pt")
        return folder


class TestBagelRankFiles(FormatTests):
    format = "bagel"

    def write(self, folder: Path, sample: Sample) -> Path:
        facts = {"checkpoint_type": "sharded", "train_steps": 1, "world_size": RANKS, "has_ema": False}
        (folder / "metadata.json").write_text(json.dumps(facts))
        save_ranks(sample, lambda rank: folder / f"model_rank{rank:05d}.pt")
        import torch

        for rank in range(RANKS):
            torch.save({"state": {}, "param_groups": []}, folder / f"optimizer_rank{rank:05d}.pt")
        return folder
