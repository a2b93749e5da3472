"""What is left aside, by its name alone, and what never is."""

import pytest

from ckpt_core.schema.side_files.debris import debris, debris_folder

ASIDE = (
    "._model.safetensors",
    "run/._step_3.pt",
    ".DS_Store",
    "a/Thumbs.db",
    ".nfs000000000012ab3400000001",
    "model.safetensors.aria2",
    "model.pt.part",
    "model.bin.crdownload",
    "model.bin.download",
    "0a1b.incomplete",
    ".model.bin.Xy12Za",
    "config.json~",
    ".config.json.swp",
    "full_sft_512.pth.tmp",
    "10/optimizer.pt.tmp",
)
FOLDERS = (
    "run/tmp-checkpoint-20",
    "__MACOSX",
    "a/.ipynb_checkpoints",
    "lost+found",
    ".cache/huggingface/download",
    "7.orbax-checkpoint-tmp-3",
)
KEPT = (
    ".metadata",
    ".0.metadata",
    ".gitattributes",
    "checkpoint-3.tmp/model.safetensors",
    "model.sync-conflict-20240101-101010-ABCDEFG.pt",
    "model-part1.bin",
    "part/model.pt",
    "a~/model.pt",
    "model.tmp",
    "temp.pt",
    ".cache/huggingface/hub/models--a--b/snapshots/1/model.safetensors",
    "..pt",
)


@pytest.mark.parametrize("path", ASIDE)
def test_known_names_are_debris(path):
    found = debris(path)
    assert found is not None
    assert found[0] == path


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_of_debris_is_named_for_all_in_it(folder):
    found = debris(f"{folder}/deep/model.safetensors")
    assert found == debris_folder(folder)
    assert found is not None
    assert found[0] == folder


@pytest.mark.parametrize("path", KEPT)
def test_what_may_be_real_is_not(path):
    assert debris(path) is None
