"""Small checkpoints to be copied, and what they hold."""

import json
from pathlib import Path

import numpy as np

import ckpt_core


def model_directory(folder: Path, *, seed: int = 0) -> Path:
    """A model directory of three shards, the largest of some MiB."""
    draw, names = np.random.default_rng(seed), {}
    folder.mkdir()
    for number, rows in enumerate((10, 1_500, 20), 1):
        name, file = f"layers.{number}.weight", f"model-0000{number}-of-00003.safetensors"
        ckpt_core.save({name: draw.standard_normal((rows, 1000)).astype("f4")}, folder / file)
        (folder / f"{file}.ckpt.json").unlink()
        names[name] = file
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return folder


def contents_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
