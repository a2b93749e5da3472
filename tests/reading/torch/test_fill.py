"""Tensors filled by several workers, each of which reads whole blocks of a file."""

import os
from collections import defaultdict
from threading import current_thread, main_thread

import numpy as np
from torch import nn

import ckpt_core
from ckpt_core import knobs
from ckpt_core.storage.digests import BLOCK
from ckpt_core.storage.files import regular


def test_no_block_is_read_by_two_workers(tmp_path, monkeypatch):
    sizes = [700_001, 300_000, 5, 1_500_000, 900_007] * 2
    tensors = {f"{number}.weight": np.full((1, size), number, "f4") for number, size in enumerate(sizes)}
    place = str(tmp_path / "model.safetensors")
    ckpt_core.save(tensors, place)
    blocks, preadv = defaultdict(set), os.preadv

    def noted(descriptor, buffers, offset):
        if current_thread() is not main_thread():
            for number in range(offset // BLOCK, -(-(offset + len(buffers[0])) // BLOCK)):
                blocks[number].add(current_thread())
        return preadv(descriptor, buffers, offset)

    model = nn.ModuleList([nn.Linear(size, 1, bias=False) for size in sizes])
    monkeypatch.setattr(regular.os, "preadv", noted)
    with knobs.override(workers=4):
        ckpt_core.load_into(model, place)
    assert all(one.weight.eq(number).all() for number, one in enumerate(model))
    assert set().union(*blocks.values()) and all(len(readers) == 1 for readers in blocks.values())
