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
    for own, other, goal in (("save", "dcp.save", 0.8), ("blocked", "dcp.async_save", 0.4)):
        ours, theirs, ratios = (found[own][name] for name in ("ours", "theirs", "ratios"))
        print(
            f"{own}: {ours[0]:.3f} s ({ours[1]:.2f} of processors), {other}: {theirs[0]:.3f} s ({theirs[1]:.2f}); "
            f"median of the ratios {ratios[0]:.2f} ({ratios[1]:.2f}), goal {goal}"
        )


if __name__ == "__main__":
    main()
