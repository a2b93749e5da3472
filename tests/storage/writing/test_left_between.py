"""A directory that is being replaced on a mount without exchange is read from where its old content waits."""

import torch
from safetensors.torch import save_file

import ckpt_core


def test_the_old_content_stands_in_until_the_new_has_its_name(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "x.safetensors")
    waiting = tmp_path / ".run.ckpt-old"
    waiting.mkdir()
    (tmp_path / "x.safetensors").rename(waiting / "x.safetensors")
    assert ckpt_core.locate(str(tmp_path / "run")).found
    assert list(ckpt_core.load(str(tmp_path / "run")).component().tensors) == ["a"]
    (tmp_path / "run").mkdir()
    save_file({"b": torch.ones(2)}, tmp_path / "run" / "y.safetensors")
    assert list(ckpt_core.load(str(tmp_path / "run")).component().tensors) == ["b"]
