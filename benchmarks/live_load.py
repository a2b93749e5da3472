"""Load into a sharded model on 3 ranks what 4 have saved, against dcp.load: seconds, bytes and memory of each rank."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.timing import ROUNDS, report

_SCRIPT = Path(__file__).parent / "live_ranks.py"


def main(layers: int = 84) -> None:
    """Measure on a model of `layers` times 12 MiB."""
    with tempfile.TemporaryDirectory() as folder:
        dcp, hf = f"{folder}/dcp", f"{folder}/hf"
        _run(4, "save", dcp, layers, folder)
        subprocess.run([sys.executable, "-c", _CONVERT.format(dcp=dcp, hf=hf)], check=True)
        both = _run(3, "both", dcp, layers, folder)
        of_dcp, of_hf = _best(both, "ours"), _best(_run(3, "ours", hf, layers, folder), "ours")
        peers = {"dcp.load": _best(both, "dcp.load")["seconds"]}
        report("load DCP of 4 ranks into FSDP2 on 3", of_dcp.pop("seconds"), peers, {"dcp.load": 0.7}, **of_dcp)
        report("load a model directory into FSDP2 on 3", of_hf.pop("seconds"), {}, {}, **of_hf)


_CONVERT = """
import os
from safetensors.torch import save_file
from ckpt_core import load
model = load({dcp!r}).to_torch("model")
os.mkdir({hf!r})
save_file(model, {hf!r} + "/model.safetensors")
open({hf!r} + "/config.json", "w").write("{{}}")
"""


def _best(ranks: list[dict[str, Any]], method: str) -> dict[str, float]:
    """The least seconds; the most bytes of a rank over its share, and mebibytes of memory besides its parameters."""
    every = [one for rank in ranks for one in rank[method]]
    return {
        "seconds": min(one["seconds"] for one in ranks[0][method]),
        "bytes_of_share": round(max(one["bytes"] / one["share"] for one in every), 4),
        "memory_besides_share_mib": round(max(one["peak"] for one in every) / 2**20, 1),
    }


def _run(ranks: int, job: str, place: str, layers: int, folder: str) -> list[dict[str, Any]]:
    out = f"{folder}/figures.json"
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(ranks), "--standalone"]
    done = subprocess.run(
        [*launch, str(_SCRIPT), job, place, str(layers), str(ROUNDS), out], check=False, capture_output=True
    )
    if done.returncode:
        raise RuntimeError(done.stderr.decode()[-4000:])
    return [] if job == "save" else json.loads(Path(out).read_text())


if __name__ == "__main__":
    main()
