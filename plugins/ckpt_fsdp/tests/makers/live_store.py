"""Run by torchrun at four ranks, `OUT URL SAVED`: load from a store what live_load.py has saved."""

import json
import sys
from pathlib import Path

import live_models as live
import torch
import torch.distributed as dist
from live_load import same

import ckpt_core
from ckpt_core.training import load_into as load_object


def main(out, url, saved):
    dist.init_process_group("gloo")
    mesh, grid = live.mesh_of(list(range(4))), live.mesh_of([[0, 1], [2, 3]], mesh_dim_names=("dp", "tp"))
    whole = torch.load(Path(saved) / "whole-4-0.pt", weights_only=True)
    said = {}
    for name in ("dcp-2", "hf"):
        wanted = (
            whole["model"] if name == "hf" else torch.load(Path(saved) / "whole-2-0.pt", weights_only=True)["model"]
        )
        models = {
            "rows": live.fsdp2(mesh, 5),
            "replicas": live.fsdp2(grid, 5),
            "columns": live.tensor_parallel(mesh, 5),
        }
        models["copies"] = live.ddp(5)
        for kind, model in models.items():
            report = ckpt_core.load_into(model, f"{url}/{name}", component="model")
            same(model, wanted)
            said[f"{name}, {kind}"] = [live.every(report.share), report.shared]
    model = live.fsdp2(mesh, 5)
    optimizer = torch.optim.AdamW(model.parameters(), foreach=False)
    said["optimizer"] = [[load_object(optimizer, f"{url}/dcp-2").coverage], ""]
    if dist.get_rank() == 0:
        (Path(out) / "said.json").write_text(json.dumps(said))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
