"""Four gloo ranks save 1 GiB of FSDP2 weights: ckpt's save and blocked time against DCP's, both synced where they end."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> None:
    """Measure, and print the medians with their ratios."""
    child = Path(__file__).with_name("sharded_saves_child.py")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "4", "--standalone"]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*launch, str(child), folder], env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
    found = json.loads(done.stdout.splitlines()[-1])
    for own, other, goal in (("save", "dcp.save", 0.8), ("blocked", "dcp.async_save blocked", 0.4)):
        ratio = found[own] / found[other]
        print(f"{own}: {found[own]:.2f} s, {other}: {found[other]:.2f} s, {ratio:.2f} of it (goal {goal})")


if __name__ == "__main__":
    main()
