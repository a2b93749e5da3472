"""Directories that Lightning's sharding strategies write are read as Lightning's own consolidation reads them."""

import os
import pickle
import shutil

import pytest
import torch

import ckpt_core
from ckpt_core import CorruptError, Presence

MAKER = "lightning_save.py"
FIRST, SECOND = "epoch=0-step=2.ckpt", "epoch=1-step=4.ckpt"


@pytest.fixture(scope="session")
def trained(made):
    return made(MAKER, 2, "model-parallel")


@pytest.fixture(scope="session")
def fsdp(made):
    return made(MAKER, 2, "fsdp")


def labels(checkpoint):
    return [component.label for component in checkpoint.manifest.components]


def assert_equal(read, expected):
    assert read.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(read[name], tensor), name


def flat(tree, prefix=""):
    if isinstance(tree, torch.Tensor):
        return {prefix: tree}
    if not isinstance(tree, dict):
        return {}
    return {
        name: leaf for key, value in tree.items() for name, leaf in flat(value, f"{prefix}.{key}".lstrip(".")).items()
    }


@pytest.mark.parametrize(
    ("kind", "name", "key"),
    [("trained", SECOND, "state_dict"), pytest.param("fsdp", FIRST, "model", marks=pytest.mark.long)],
)
def test_everything_is_what_lightning_consolidates(request, kind, name, key):
    from lightning.fabric.utilities.load import _load_distributed_checkpoint

    saved = request.getfixturevalue(kind)
    checkpoint = ckpt_core.load(str(saved / "runs" / name))
    stock = _load_distributed_checkpoint(saved / "runs" / name)
    assert checkpoint.match.format == "lightning-fsdp"
    assert_equal(checkpoint.to_torch(), stock[key])
    assert_equal(checkpoint.to_torch(), torch.load(saved / "whole.pt", weights_only=True))
    assert_equal(checkpoint.to_torch("optimizer"), flat(stock["optimizer_0"]))
    assert checkpoint.component("scheduler").state == stock["lr_schedulers"]
    assert checkpoint.component("config").state == stock["hyper_parameters"]
    assert checkpoint.manifest.step == checkpoint.match.step == stock["global_step"]


def test_each_piece_has_its_component(trained, fsdp):
    assert labels(ckpt_core.load(str(trained / "runs" / FIRST))) == [
        "model", "optimizer", "scheduler", "progress", "progress:callbacks", "config",
    ]  # fmt: skip
    checkpoint = ckpt_core.load(str(fsdp / "runs" / FIRST))
    assert labels(checkpoint) == ["model", "optimizer", "scheduler", "scaler", "progress", "config"]
    assert checkpoint.component("scaler").state["scale"] == 65536.0


def test_a_fresh_checkpoint_has_no_finding_above_information(trained):
    report = ckpt_core.verify(str(trained / "runs" / SECOND), depth=ckpt_core.Depth.BYTES).report
    assert report.worst is ckpt_core.Severity.INFO


def test_a_run_directory_lists_each_once_with_its_step(trained):
    detection = detected(trained / "runs")
    assert [(m.format, m.root, m.step) for m in detection.members] == [
        ("lightning-fsdp", FIRST, 2),
        ("lightning-fsdp", SECOND, 4),
    ]
    assert not detection.rivals and not detected(trained / "runs" / FIRST).rivals


def detected(folder):
    files = ckpt_core.list_files(str(folder))
    return ckpt_core.get_plugin_manager().hooks.detect_format(files=files)


def test_a_missing_meta_is_said_and_the_weights_are_read(trained, copy_of):
    folder = copy_of(trained / "runs" / FIRST, FIRST)
    (folder / "meta.pt").unlink()
    checkpoint = ckpt_core.load(str(folder))
    assert checkpoint.match.format == "lightning-fsdp" and labels(checkpoint) == ["model", "optimizer"]
    assert [role.kind for role in checkpoint.manifest.roles if role.presence is Presence.ABSENT] == [
        "scheduler",
        "sampler",
        "progress",
        "rng",
    ]
    assert "FS002" in {finding.code for finding in ckpt_core.verify(str(folder)).report.findings}
    plain = ckpt_core.load(shutil.copytree(folder, folder.parent / "weights").as_posix())
    assert plain.match.format == "dcp", "without the file and the name nothing says that Lightning wrote it"


def test_a_broken_meta_is_an_error_and_unreadable(trained, copy_of):
    folder = copy_of(trained / "runs" / FIRST)
    (folder / "meta.pt").write_bytes((folder / "meta.pt").read_bytes()[:-100])
    checkpoint = ckpt_core.load(str(folder))
    unreadable = [role.kind for role in checkpoint.manifest.roles if role.presence is Presence.UNREADABLE]
    assert unreadable == ["progress", "scheduler", "sampler"]
    assert not ckpt_core.verify(str(folder)).report.ok


def test_a_meta_that_would_run_code_is_refused(trained, copy_of, tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    folder = copy_of(trained / "runs" / FIRST)
    torch.save({"epoch": Evil()}, folder / "meta.pt", pickle_module=pickle)
    for verb in (ckpt_core.load, ckpt_core.verify, ckpt_core.inspect):
        with pytest.raises(ckpt_core.UnsafeContentError):
            verb(str(folder))
    assert not (tmp_path / "ran").exists()


def test_a_missing_shard_and_a_missing_metadata_are_named(trained, copy_of):
    folder = copy_of(trained / "runs" / FIRST, FIRST)
    (folder / "__1_0.distcp").unlink()
    found = {f.tensor: f for f in ckpt_core.verify(str(folder)).report.findings}
    assert "net.0.weight[3:5, 0:6]" in found["net.0.weight"].message
    assert found[None].code == "DC013", "the rank held values that are no tensors too"
    (folder / ".metadata").unlink()
    (member,) = detected(folder.parent).members
    assert (member.format, member.step) == ("lightning-fsdp", 2)
    with pytest.raises(CorruptError) as caught:
        ckpt_core.load(str(folder))
    assert caught.value.code == "DC001"


def test_the_wrapper_of_a_module_is_taken_off_where_every_name_has_it(tmp_path):
    import torch.distributed.checkpoint as dcp

    state = {f"_forward_module.{name}": torch.ones(2) for name in ("net.weight", "net.bias")}
    with pytest.warns(UserWarning, match="in a single process"):
        dcp.save({"model": state}, checkpoint_id=tmp_path / "x.ckpt", no_dist=True)
    torch.save({"epoch": 0, "global_step": 1}, tmp_path / "x.ckpt" / "meta.pt")
    assert set(ckpt_core.load(str(tmp_path / "x.ckpt")).component().tensors) == {"net.weight", "net.bias"}
