"""A planned torch file holds the components in the way a format arranges them."""

import torch

from ckpt_core import LocationKind, WritePlan
from ckpt_core.codecs.torch.writer import plan_torch
from ckpt_core.layouts.in_memory import checkpoint_of
from ckpt_core.storage.writing.targets import open_target


def test_a_format_may_give_the_saved_object_keys_of_its_own(tmp_path):
    checkpoint = checkpoint_of({"model": {"w": torch.ones(2)}, "optimizer": {"state": {0: {"m": torch.zeros(2)}}}})
    plan = plan_torch(
        "x.pt",
        checkpoint.manifest.components,
        arrange=lambda trees: {"net": trees["model"], "version": 3, "optim": trees["optimizer"]},
    )
    with open_target(str(tmp_path / "x.pt"), format="torch", kind=LocationKind.FILE) as target:
        target.write(WritePlan((plan,)), checkpoint)
        found = torch.load(target.staged, weights_only=True)
    assert list(found) == ["net", "version", "optim"]
    assert torch.equal(found["net"]["w"], torch.ones(2))
    assert torch.equal(found["optim"]["state"][0]["m"], torch.zeros(2))
