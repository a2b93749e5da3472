"""What a resume reads of a checkpoint, how often, and that all of it is proved before anything is changed."""

import os
import re
from collections import Counter

import pytest
import torch
from torch import nn

from ckpt_core.errors import CorruptError, LoadInterruptedError
from ckpt_core.training import Checkpointer

MIB = 1 << 20


def objects(seed):
    torch.manual_seed(seed)
    model = nn.Linear(1024, 1024, bias=False)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 1024)).sum().backward()
    optimizer.step()
    return model, optimizer


@pytest.fixture
def run(tmp_path):
    model, optimizer = objects(0)
    with Checkpointer(tmp_path / "run", model=model, optimizer=optimizer, probe=Probe()) as saver:
        saver.save(1)
    return tmp_path / "run"


class Probe:
    """An object whose filling comes between the proof and the filling of the model."""

    def __init__(self, do=lambda: None):
        self.do = do

    def state_dict(self):
        return {"a": 1}

    def load_state_dict(self, state):
        self.do()


@pytest.fixture
def read(monkeypatch):
    """Bytes read of each file, by name."""
    counted, preadv = Counter(), os.preadv

    def counting(descriptor, buffers, offset):
        count = preadv(descriptor, buffers, offset)
        counted[os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))] += count
        return count

    monkeypatch.setattr(os, "preadv", counting)
    return counted


@pytest.mark.parametrize("sealed", [True, False])
def test_state_that_goes_to_new_memory_is_read_in_the_pass_that_proves_it(run, read, sealed):
    if not sealed:
        (run / "checkpoint-1" / "ckpt.manifest.json").unlink()
    model, optimizer = objects(1)
    with Checkpointer(run, model=model, optimizer=optimizer, probe=Probe()) as saver:
        assert saver.resume(1).step == 1
    beside = 2 * MIB  # a header, and a block that two workers have parts of
    assert 0 <= read["optimizer.safetensors"] - 8 * MIB * (1 if sealed else 2) < beside
    assert 0 <= read["model.safetensors"] - 8 * MIB < beside, "4 MiB once for the proof, and once in place"


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "progress.probe.state.json"])
def test_every_byte_is_proved_before_anything_is_filled(run, file):
    path = run / "checkpoint-1" / file
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    model, optimizer = objects(1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    filled = []
    given = {"model": model, "optimizer": optimizer, "probe": Probe(lambda: filled.append(1))}
    with Checkpointer(run, **given) as saver, pytest.raises(CorruptError, match=re.escape(file)):
        saver.resume(1)
    assert not filled and all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())


def test_a_part_that_nothing_is_given_for_is_proved_too(run):
    path = run / "checkpoint-1" / "optimizer.safetensors"
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    with Checkpointer(run, model=objects(1)[0]) as saver, pytest.raises(CorruptError, match=r"optimizer\.safetensors"):
        saver.resume(1)


def test_a_model_that_changes_behind_the_proof_is_noticed_and_nothing_is_saved_any_more(run):
    path = run / "checkpoint-1" / "model.safetensors"

    def change():
        times = path.stat()
        with open(path, "r+b") as file:
            file.seek(-2, os.SEEK_END)
            file.write(b"\x01")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    model, optimizer = objects(1)
    with Checkpointer(run, model=model, optimizer=optimizer, probe=Probe(change)) as saver:
        with pytest.raises(LoadInterruptedError):
            saver.resume(1)
        with pytest.raises(LoadInterruptedError, match="start the process anew"):
            saver.save(2)
