"""Checkpoints on mounts that cannot rename: written, replaced, converted, sealed, repaired; unfinished ones say so."""

import gc
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import safetensors.numpy

import ckpt_core
from ckpt_core.errors import CorruptError, OverwriteError
from tests.servers.bucket_mount import bucket_mount

WEIGHTS = {f"{name}.weight": np.full((64, 64), number, np.float32) for number, name in enumerate("abc")}
OTHER = {name: value + 10 for name, value in WEIGHTS.items()}


@pytest.fixture(params=["none", "files"])
def mount(request, tmp_path):
    with bucket_mount(tmp_path / "mount", tmp_path / "kept", renames=request.param) as place:
        yield place
        gc.collect()  # what is still open there keeps the mount


def held(place):
    checkpoint = ckpt_core.load(str(place))
    return {name: bytes(checkpoint.read("model", name)) for name in checkpoint.component("model").tensors}


def content(weights):
    return {name: value.tobytes() for name, value in weights.items()}


def test_a_single_file_is_written_replaced_and_read_by_others(mount):
    place = mount / "m.safetensors"
    ckpt_core.save(WEIGHTS, str(place))
    assert sorted(os.listdir(mount)) == ["m.safetensors", "m.safetensors.ckpt.json"]
    assert safetensors.numpy.load_file(place).keys() == WEIGHTS.keys()
    with pytest.raises(OverwriteError):
        ckpt_core.save(OTHER, str(place))
    ckpt_core.save(OTHER, str(place), force=True)
    assert held(place) == content(OTHER)
    assert ckpt_core.verify(str(place), depth="bytes").report.ok


def test_a_directory_is_written_and_replaced_through_a_generation(mount):
    place = mount / "run"
    how = {"format": "hf", "options": {"max_shard_size": "20KB"}}
    ckpt_core.save(WEIGHTS, str(place), **how)
    assert not [name for name in os.listdir(place) if name.startswith(".ckpt")]
    assert held(place) == content(WEIGHTS)
    with pytest.raises(OverwriteError):
        ckpt_core.save(OTHER, str(place), **how)
    ckpt_core.save(OTHER, str(place), force=True, **how)
    assert held(place) == content(OTHER)
    assert ckpt_core.verify(str(place), depth="bytes").report.ok
    assert [name[:17] for name in os.listdir(place) if name != "ckpt.manifest.json"] == [".ckpt-generation-"]
    ckpt_core.convert(str(place), str(mount / "flat"), to="hf")
    assert held(mount / "flat") == content(OTHER)
    assert (mount / "flat" / "model.safetensors").exists()


def test_a_directory_and_a_file_that_were_not_finished_say_so(mount):
    (mount / "out").mkdir()
    (mount / "out" / ".ckpt-unfinished.json").write_bytes(b"{}")
    (mount / "out" / "model.safetensors").write_bytes(safetensors.numpy.save(WEIGHTS))
    with pytest.raises(CorruptError, match="not finished"):
        ckpt_core.load(str(mount / "out"))
    (mount / "m.safetensors").write_bytes(safetensors.numpy.save(WEIGHTS)[:-9])
    (mount / ".m.safetensors.ckpt-stage-1").mkdir()
    (mount / ".m.safetensors.ckpt-lease.json").write_bytes(b"{}")
    with pytest.raises(CorruptError, match="not finished"):
        ckpt_core.load(str(mount / "m.safetensors"))


def test_a_conversion_killed_on_the_mount_leaves_no_checkpoint_and_is_gone_on_with(mount, tmp_path):
    big = {f"{number}.weight": np.full((1024, 1024), number, np.float32) for number in range(24)}
    safetensors.numpy.save_file(big, tmp_path / "m.safetensors")
    command = [sys.executable, "-m", "ckpt_core.cli.main", "convert", str(tmp_path / "m.safetensors")]
    command += [str(mount / "out"), "--to", "hf", "--max-shard-size", "20MB"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not list(mount.glob("out/**/.*upload*/*")) and time.monotonic() < end and child.poll() is None:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    with pytest.raises((CorruptError, ckpt_core.CheckpointNotFoundError)):
        ckpt_core.load(str(mount / "out"))
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert held(mount / "out") == content(big)
    assert not [name for name in os.listdir(mount / "out") if name.startswith(".")]


def test_a_checkpoint_is_repaired_in_place_and_that_taken_back(mount):
    ckpt_core.save(WEIGHTS, str(mount / "run"), format="hf", options={"max_shard_size": "20KB"})
    (mount / "run" / "model.safetensors.index.json").unlink()
    before = {path.name: path.read_bytes() for path in (mount / "run").iterdir()}
    ckpt_core.repair(str(mount / "run"), output=str(mount / "mended"))
    assert ckpt_core.verify(str(mount / "mended"), depth="bytes").report.ok
    ckpt_core.repair(str(mount / "run"), in_place=True)
    assert ckpt_core.verify(str(mount / "run"), depth="bytes").report.ok
    ckpt_core.undo_repair(str(mount / "run"))
    assert {path.name: path.read_bytes() for path in (mount / "run").iterdir()} == before


def test_what_others_wrote_there_is_sealed(mount):
    (mount / "m.safetensors").write_bytes(safetensors.numpy.save(WEIGHTS))
    ckpt_core.seal(str(mount / "m.safetensors"))
    assert ckpt_core.verify(str(mount / "m.safetensors"), depth="bytes").report.ok


def test_a_checkpoint_is_copied_there_and_from_there(mount, tmp_path):
    ckpt_core.save(WEIGHTS, str(tmp_path / "run"), format="hf", options={"max_shard_size": "20KB"})
    ckpt_core.copy(str(tmp_path / "run"), str(mount / "run"))
    assert held(mount / "run") == content(WEIGHTS)
    ckpt_core.copy(str(mount / "run"), str(tmp_path / "back"))
    assert held(tmp_path / "back") == content(WEIGHTS)


def test_what_a_killed_writer_left_is_cleaned_up(mount, tmp_path):
    safetensors.numpy.save_file({"w": np.zeros((3000, 1024), np.float32)}, tmp_path / "m.safetensors")
    script = f"import ckpt_core, os; ckpt_core.convert({str(tmp_path / 'm.safetensors')!r}, {str(mount / 'out')!r}, "
    script += "to='hf', progress=type('P', (), {'begin': lambda s, n: None, 'advance': lambda s, n: os._exit(9)})())"
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 9
    with pytest.raises((CorruptError, ckpt_core.CheckpointNotFoundError)):
        ckpt_core.load(str(mount / "out"))
    assert ckpt_core.clean(str(mount / "out")).pending
    assert not ckpt_core.clean(str(mount / "out"), apply=True).pending
    assert not [path for path in mount.rglob("*") if path.is_file()]
