"""Whole checkpoints of four kinds, to be broken: python sources.py OUT.

OUT/checkpoint-2 is of transformers' Trainer, OUT/sharded a model directory in shards, OUT/step_2.pt of
torch.save, OUT/step_2 of dcp.save.
"""

import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[3]))
from tests.integration.resume import killed_saves

NAMES = {"trainer": "checkpoint-2", "sharded": "sharded", "torch": "step_2.pt", "dcp": "step_2"}


def main(folder):
    import torch.distributed.checkpoint as dcp

    out = Path(folder)
    subprocess.run([sys.executable, killed_saves.__file__, "trainer", out / "saves", "1000"], check=True)
    shutil.move(out / "saves" / "whole" / "checkpoint-2", out / "checkpoint-2")
    shutil.rmtree(out / "saves")
    killed_saves.llama().save_pretrained(out / "sharded", max_shard_size="8KB")
    state = killed_saves.state(2)
    torch.save(state, out / "step_2.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(state, checkpoint_id=out / "step_2", no_dist=True)


if __name__ == "__main__":
    main(sys.argv[1])
