"""Writers in a loop: python writers.py KIND PLACE PAUSE replaces the checkpoint at PLACE until it is stopped, with
random pauses of at most PAUSE seconds.

A line on stdout says that the place is there.
"""

import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import ckpt_core

Write = Callable[[Path, int], None]


def weights(number: int) -> dict[str, Any]:
    """Tensors whose names, shapes and values depend on the round."""
    torch.manual_seed(number)
    count = 3 + number % 5
    return {f"layer.{number % 3}.{index}.weight": torch.randn(16 + 16 * (number % 4), 64) for index in range(count)}


def torch_in_place(place: Path, number: int) -> None:
    torch.save(weights(number), place)


def torch_same_size_in_place(place: Path, number: int) -> None:
    torch.save({"w": torch.full((64, 64), float(number))}, place)


def safetensors_in_place(place: Path, number: int) -> None:
    save_file(weights(number), place)


def torch_renamed(place: Path, number: int) -> None:
    staged = place.with_suffix(".tmp")
    torch.save(weights(number), staged)
    os.replace(staged, place)


def sealed_file(place: Path, number: int) -> None:
    ckpt_core.save(weights(number), str(place), force=True)


def sealed_directory(place: Path, number: int) -> None:
    ckpt_core.save(weights(number), str(place), format="hf", options={"max_shard_size": "20KB"}, force=True)


def hf_files(place: Path, number: int) -> None:
    """Two shards and their index, as save_pretrained leaves them."""
    place.mkdir(exist_ok=True)
    tensors = weights(number)
    shards = {"model-00001-of-00002.safetensors": {}, "model-00002-of-00002.safetensors": {}}
    where = {}
    for index, (name, tensor) in enumerate(tensors.items()):
        shard = list(shards)[index % 2]
        shards[shard][name] = tensor
        where[name] = shard
    for shard, held in shards.items():
        save_file(held, place / shard, metadata={"format": "pt"})
    index = {"metadata": {"total_size": sum(t.nbytes for t in tensors.values())}, "weight_map": where}
    (place / "model.safetensors.index.json").write_text(json.dumps(index))
    (place / "config.json").write_text('{"model_type": "llama"}')


def directory_renamed(place: Path, number: int) -> None:
    """The old one out of the way, the new one in its place: no exchange."""
    staged, old = place.with_name("staged"), place.with_name("old")
    hf_files(staged, number)
    if place.exists():
        os.rename(place, old)
    os.rename(staged, place)
    shutil.rmtree(old, ignore_errors=True)


def dcp_in_place(place: Path, number: int) -> None:
    import torch.distributed.checkpoint as dcp

    dcp.save(weights(number), checkpoint_id=str(place))


KINDS: dict[str, Write] = {
    one.__name__: one
    for one in (
        torch_in_place,
        torch_same_size_in_place,
        safetensors_in_place,
        torch_renamed,
        sealed_file,
        sealed_directory,
        hf_files,
        directory_renamed,
        dcp_in_place,
    )
}


def main(kind: str, place: str, pause: str) -> None:
    write, number, chance = KINDS[kind], 0, random.Random(0)
    write(Path(place), number)
    print("there", flush=True)
    while True:
        number += 1
        time.sleep(chance.random() * float(pause))
        write(Path(place), number)


if __name__ == "__main__":
    main(*sys.argv[1:])
