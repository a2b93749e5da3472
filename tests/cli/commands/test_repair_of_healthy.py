"""`ckpt repair` of what is healthy says so, ends with 0 and writes nothing, whatever the checkpoint is."""

import os
import shutil

import numpy as np
import pytest

import ckpt_core
from ckpt_core.verbs.convert import convert
from ckpt_core.verbs.save import save

KINDS = {
    "file.safetensors": {},
    "file.pth": {},
    "model": {"to": "hf", "options": {"max_shard_size": "2KB"}},
    "distributed": {"to": "dcp", "options": {"ranks": "2"}},
}


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("healthy")
    save({name: np.full((16, 16), number + 1, "f4") for number, name in enumerate("abc")}, str(folder / "s.pth"))
    for name, how in KINDS.items():
        convert(str(folder / "s.pth"), str(folder / name), **how)
    shutil.copytree(folder / "model", folder / "bare")
    unsealed(folder / "bare")
    return folder


def unsealed(folder):
    for name in ("ckpt.manifest.json", "ckpt.blocks"):
        for path in [*folder.rglob(name), *folder.rglob("*.ckpt.json")]:
            path.unlink(missing_ok=True)


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "unsealed"])
@pytest.mark.parametrize("name", KINDS)
def test_a_healthy_checkpoint_has_nothing_to_repair(name, sealed, ckpt, healthy, tmp_path):
    folder = shutil.copytree(healthy, tmp_path / "x")
    if not sealed:
        unsealed(folder)
    before = sorted(folder.rglob("*"))
    for more in ((), ("--apply", "--in-place"), ("--apply", "--output", folder / "out"), ("--depth", "values")):
        done = ckpt("repair", folder / name, *more)
        assert done.code == 0 and done.out.splitlines()[-1] == f"{folder / name}: nothing to repair", more
    assert sorted(folder.rglob("*")) == before


def test_what_was_never_saved_is_told_and_is_nothing_to_repair(ckpt, healthy):
    done = ckpt("repair", healthy / "bare")
    lines = done.out.splitlines()
    assert done.code == 0 and lines[-1] == f"{healthy / 'bare'}: nothing to repair"
    assert lines[0].startswith("was not saved  config.json: config is absent")
    asked = ckpt("repair", healthy / "bare", "--for", "inference")
    assert asked.code == 4 and "cannot be repaired" in asked.out and "nothing to repair" not in asked.out


def test_a_folder_of_healthy_checkpoints_is_answered_for_each_by_its_name(ckpt, healthy, tmp_path):
    runs = tmp_path / "runs"
    for step in (10, 20):
        shutil.copytree(healthy / "model", runs / f"checkpoint-{step}")
    done = ckpt("repair", runs)
    assert done.code == 0
    assert [line for line in done.out.splitlines() if line.endswith(": nothing to repair")] == [
        f"{runs / name}: nothing to repair" for name in ("checkpoint-10", "checkpoint-20")
    ]
    for step in (10, 20):
        done = ckpt("repair", runs / f"checkpoint-{step}")
        assert done.code == 0 and "nothing to repair" in done.out
    assert len(os.listdir(runs)) == 2
    assert ckpt_core.verify(str(runs / "checkpoint-20")).report.ok
