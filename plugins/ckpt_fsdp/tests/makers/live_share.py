"""Run by torchrun at three ranks, `OUT URL ENDPOINT...`: each loads from a store, reached in a way of its own."""

import json
import os
import sys
from pathlib import Path

import live_models as live
import torch
import torch.distributed as dist

import ckpt_core


def main(out, url, *endpoints):
    dist.init_process_group("gloo")
    os.environ["AWS_ENDPOINT_URL_S3"] = endpoints[dist.get_rank()]
    mesh = live.mesh_of(list(range(3)))
    found = {}
    for name in ("big", "big-dcp"):
        whole = {name: torch.zeros(3 << 12, 1 << 8) for name in ckpt_core.load(f"{url}/big").component("model").tensors}
        model = live.of_tensors(whole, mesh)
        dist.barrier()
        found[name] = [ckpt_core.load_into(model, f"{url}/{name}", component="model").share]
        found[name] += [float(one.to_local().double().sum()) for one in model.layers]
    Path(out, f"rank-{dist.get_rank()}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
