"""`file://` and `openbayes://` are paths of this machine to every verb, of what is read and of what is written."""

import numpy as np
import pytest
import safetensors.numpy

import ckpt_core
from ckpt_core.storage import urls

TENSORS = {"weight": np.arange(12, dtype=np.float32).reshape(3, 4), "bias": np.ones(3, np.float32)}


@pytest.fixture(params=["file", "openbayes"])
def place(request, tmp_path, monkeypatch):
    """Names a file of the test's folder, by a URL of each scheme."""
    monkeypatch.setitem(urls.MOUNTS, "openbayes", str(tmp_path))
    root = f"file://{tmp_path}" if request.param == "file" else "openbayes:/"
    return lambda name: f"{root}/{name}"


def stored(path):
    return safetensors.numpy.load_file(path)


def assert_same(found):
    assert found.keys() == TENSORS.keys()
    assert all(np.array_equal(found[name], tensor) for name, tensor in TENSORS.items())


def test_a_state_is_saved_to_one_and_is_on_the_disk(place, tmp_path):
    ckpt_core.save(TENSORS, place("m.safetensors"))
    assert_same(stored(tmp_path / "m.safetensors"))
    assert (tmp_path / "m.safetensors.ckpt.json").exists()
    with pytest.raises(ckpt_core.OverwriteError):
        ckpt_core.save(TENSORS, place("m.safetensors"))
    ckpt_core.save(TENSORS, place("m.safetensors"), force=True)
    assert ckpt_core.verify(place("m.safetensors"), depth="bytes").report.ok


def test_a_conversion_reads_one_and_writes_one(place, tmp_path):
    safetensors.numpy.save_file(TENSORS, tmp_path / "m.safetensors")
    ckpt_core.convert(place("m.safetensors"), place("out/m.pth"))
    ckpt_core.convert(place("out/m.pth"), place("back.safetensors"))
    assert_same(stored(tmp_path / "back.safetensors"))


def test_one_is_sealed_where_it_lies(place, tmp_path):
    safetensors.numpy.save_file(TENSORS, tmp_path / "m.safetensors")
    ckpt_core.seal(place("m.safetensors"))
    assert (tmp_path / "m.safetensors.ckpt.json").exists()
    assert ckpt_core.verify(str(tmp_path / "m.safetensors"), depth="bytes").report.ok


def test_one_is_repaired_as_a_copy_and_in_place_and_that_taken_back(place, tmp_path):
    damaged = damaged_checkpoint(tmp_path / "run")
    before = {path.name: path.read_bytes() for path in damaged.iterdir()}
    made = ckpt_core.repair(place("run"), output=place("mended"))
    assert made.written == str(tmp_path / "mended")
    assert ckpt_core.verify(place("mended")).report.ok
    assert ckpt_core.repair(place("run"), in_place=True).backup == str(damaged / ".ckpt-backup-1")
    assert ckpt_core.verify(place("run")).report.ok
    assert ckpt_core.undo_repair(place("run")) == ["model.safetensors.index.json"]
    assert {path.name: path.read_bytes() for path in damaged.iterdir()} == before


def damaged_checkpoint(folder):
    """A sharded directory of Hugging Face whose index names a file that is not there, and none that is."""
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    for number, (name, tensor) in enumerate(TENSORS.items(), 1):
        safetensors.numpy.save_file({name: tensor}, folder / f"model-0000{number}-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {}, "metadata": {}}')
    return folder
