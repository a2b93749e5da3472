"""Debris beside real checkpoints: never a member, never judged, never carried, never sealed; named in the log."""

import logging

import pytest
import torch
from safetensors.torch import save_file

from ckpt_core.errors import CorruptError
from ckpt_core.schema.side_files.seals import Seal
from ckpt_core.storage.listing import list_files
from ckpt_core.storage.sealing import read_seal
from ckpt_core.verbs.inspect import inspect
from ckpt_core.verbs.load import OWN_CHECKS, Checks, find
from ckpt_core.verbs.seal import seal
from ckpt_core.verbs.verify import verify

NAMES = ("._a.pt", "b.pt.part", "b.pt.aria2", ".c.pt.Ab3dE9", "d.pth.tmp", "tmp-checkpoint-3/model.pt", "old.pt~")


@pytest.fixture
def run(tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "step_1.pt")
    for name in NAMES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"junk of any kind")
    return tmp_path


def test_no_debris_is_listed_or_a_member(run):
    files = list_files(str(run))
    assert list(files.entries) == ["step_1.pt"]
    assert set(files.debris) == {name.partition("/")[0] for name in NAMES}
    assert [match.root for match in find(str(run)).detection.members] in ([], ["step_1.pt"])


@pytest.mark.parametrize(
    "verb", [inspect, lambda ref: find(ref, checks=Checks()), lambda ref: find(ref, checks=OWN_CHECKS)]
)
def test_the_log_names_each(run, caplog, verb):
    with caplog.at_level(logging.INFO):
        verb(str(run))
    assert all(f"left aside {name.partition('/')[0]}" in caplog.text for name in NAMES)


def test_a_seal_covers_none_and_misses_none(run):
    (run / "step_1.pt").unlink()
    save_file({"w": torch.ones(2)}, run / "model.safetensors", metadata={"format": "pt"})
    (run / "config.json").write_text('{"model_type": "llama"}')
    seal(str(run))
    found = read_seal(list_files(str(run)))
    assert isinstance(found, Seal)
    assert set(found.files) == {"config.json", "model.safetensors"}
    (run / ".nfs0000000000000001").write_bytes(b"x")
    assert not [finding for finding in verify(str(run)).report.findings if finding.code.startswith("SL")]


def test_a_named_download_is_said_to_be_one_and_opens_where_it_is_whole(run):
    with pytest.raises(CorruptError, match="unfinished download") as refused:
        inspect(str(run / "b.pt.part"))
    assert refused.value.code == "FM003"
    (run / "b.pt.part").write_bytes((run / "step_1.pt").read_bytes())
    assert inspect(str(run / "b.pt.part")).checkpoint is not None
