"""Files of the ranks of model parallelism: found, named, counted; read as a model where there is one rank alone."""

import argparse

import pytest
import torch

import ckpt_core
from ckpt_core.cli.main import main


def megatron(root, tensor=1, pipeline=1, expert=1, step=100, arguments=True):
    """A checkpoint as Megatron-LM's get_checkpoint_name names its files."""
    for rank in range(tensor * pipeline * expert):
        numbers = rank % tensor, rank // tensor % pipeline, rank // tensor // pipeline
        name = f"mp_rank_{numbers[0]:02d}" + (f"_{numbers[1]:03d}" if pipeline > 1 else "")
        name += f"_{numbers[2]:03d}" if expert > 1 else ""
        folder = root / f"iter_{step:07d}" / name
        folder.mkdir(parents=True)
        args = argparse.Namespace(
            tensor_model_parallel_size=tensor, pipeline_model_parallel_size=pipeline, expert_model_parallel_size=expert
        )
        state = {
            "checkpoint_version": 3.0,
            "iteration": step,
            "model": {"decoder": {f"layers.{numbers[1]}.weight": torch.full((2, 3), float(rank))}},
            "optimizer": {"state": {0: {"exp_avg": torch.ones(6)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
            "opt_param_scheduler": {"num_steps": step},
        }
        torch.save({**({"args": args} if arguments else {}), **state}, folder / "model_optim_rng.pt")
    (root / "latest_checkpointed_iteration.txt").write_text(str(step))
    return root


def saying(folder, world, pattern="model_{}.pt", start=0, key="mp_size", **more):
    folder.mkdir(parents=True, exist_ok=True)
    for rank in range(world):
        said = {name: value(rank) for name, value in more.items()}
        torch.save({key: world, "model": {"w": torch.ones(2)}, **said}, folder / pattern.format(rank + start))
    return folder


def codes(place):
    return {finding.code for finding in ckpt_core.verify(str(place)).report.findings}


def members(folder):
    files = ckpt_core.list_files(str(folder))
    found = ckpt_core.get_plugin_manager().hooks.detect_format(files=files)
    return [found.best] if found.best else list(found.members)


SIZES = {"tp2": (2, 1, 1), "pp3": (1, 3, 1), "tp2 pp2": (2, 2, 1), "ep2": (1, 1, 2), "tp2 pp2 ep2": (2, 2, 2)}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_every_rank_of_megatron_is_a_part_and_a_lost_one_an_error(tmp_path, sizes):
    root = megatron(tmp_path / "run", *sizes)
    checkpoint = ckpt_core.load(str(root))
    assert (checkpoint.match.format, checkpoint.match.step, checkpoint.manifest.step) == ("model-parallel", 100, 100)
    labels = [c.label for c in checkpoint.manifest.components if c.kind == "model"]
    assert len(labels) == len(set(labels)) == sizes[0] * sizes[1] * sizes[2]
    assert codes(root) == {"PT004"}
    folders = sorted((root / "iter_0000100").iterdir())
    for folder in folders:
        file = folder / "model_optim_rng.pt"
        kept = file.read_bytes()
        file.unlink()
        report = ckpt_core.verify(str(root)).report
        errors = [f for f in report.findings if f.severity is ckpt_core.Severity.ERROR]
        assert [(f.code, f.path) for f in errors] == [("PT002", folder.name)]
        with pytest.raises(ckpt_core.CorruptError, match=folder.name):
            ckpt_core.convert(str(root), str(tmp_path / "out.pt"))
        file.write_bytes(kept)


def test_one_rank_alone_is_read_as_a_model(tmp_path):
    root = megatron(tmp_path / "run")
    checkpoint = ckpt_core.load(str(root))
    labels = [component.label for component in checkpoint.manifest.components]
    assert labels == ["model", "optimizer", "scheduler", "progress", "config"]
    ckpt_core.convert(str(root), str(tmp_path / "model.safetensors"), components=["model"])
    assert codes(root) == set()


def test_parts_are_not_merged_and_the_reason_is_said(tmp_path, capsys):
    root = megatron(tmp_path / "run", 2)
    assert main(["convert", str(root), str(tmp_path / "out.safetensors"), "--component", "model"]) == 2
    assert "are not merged" in capsys.readouterr().err
    assert not (tmp_path / "out.safetensors").exists()


def test_parts_of_two_saves_are_an_error(tmp_path):
    megatron(tmp_path / "a", 2)
    megatron(tmp_path / "b", 2, step=200)
    new = tmp_path / "b/iter_0000200/mp_rank_01/model_optim_rng.pt"
    (tmp_path / "a/iter_0000100/mp_rank_01/model_optim_rng.pt").write_bytes(new.read_bytes())
    assert codes(tmp_path / "a") == {"PT003", "PT004"}


def test_parts_of_another_number_of_ranks_are_an_error(tmp_path):
    megatron(tmp_path / "a", 2)
    megatron(tmp_path / "b", 4)
    other = tmp_path / "b/iter_0000100/mp_rank_01/model_optim_rng.pt"
    (tmp_path / "a/iter_0000100/mp_rank_01/model_optim_rng.pt").write_bytes(other.read_bytes())
    assert "PT003" in codes(tmp_path / "a")


def test_a_rank_left_over_from_another_save_is_an_error(tmp_path):
    megatron(tmp_path / "a", 2)
    extra = tmp_path / "a/iter_0000100/mp_rank_02"
    extra.mkdir()
    source = tmp_path / "a/iter_0000100/mp_rank_01/model_optim_rng.pt"
    (extra / source.name).write_bytes(source.read_bytes())
    assert codes(tmp_path / "a") == {"PT003", "PT004"}


def test_a_gap_in_names_is_an_error_where_no_file_says_how_many_there_were(tmp_path):
    root = megatron(tmp_path / "a", 4, arguments=False)
    (root / "iter_0000100/mp_rank_02/model_optim_rng.pt").unlink()
    assert "PT002" in codes(root)


def test_a_broken_part_is_unreadable_and_not_missing(tmp_path):
    root = megatron(tmp_path / "a", 2)
    path = root / "iter_0000100/mp_rank_01/model_optim_rng.pt"
    path.write_bytes(path.read_bytes()[:300])
    report = ckpt_core.verify(str(root)).report
    errors = [f for f in report.findings if f.severity is ckpt_core.Severity.ERROR]
    assert [f.path for f in errors] == ["mp_rank_01/model_optim_rng.pt"]
    assert "PT002" not in codes(root)


def test_two_steps_of_megatron_are_two_members(tmp_path):
    for step in (100, 200):
        megatron(tmp_path, 2, step=step)
    assert [(match.root, match.step) for match in members(tmp_path)] == [("iter_0000100", 100), ("iter_0000200", 200)]


LOOSE = {
    "the number in the name": ("part-{:02d}.pt", 0, {}),
    "counted from one": ("shard{}of4.pth", 1, {}),
    "the rank in the content": ("weights.{}.bin", 0, {"rank": lambda rank: rank}),
    "a step before the rank": ("step_300_mp{}.pt", 0, {}),
}


@pytest.mark.parametrize(("pattern", "start", "more"), LOOSE.values(), ids=LOOSE)
@pytest.mark.parametrize("key", ["mp_size", "tensor_model_parallel_size", "tp_size"])
def test_files_that_say_how_many_go_with_them_are_one_checkpoint(tmp_path, pattern, start, more, key):
    folder = saying(tmp_path / "a", 4, pattern, start, key, **more)
    (match,) = members(folder)
    assert (match.format, len(match.files)) == ("model-parallel", 4)
    assert codes(folder) == {"PT004"}
    (folder / pattern.format(2 + start)).unlink()
    errors = [f for f in ckpt_core.verify(str(folder)).report.findings if f.severity is ckpt_core.Severity.ERROR]
    assert [(f.code, f.path) for f in errors] == [("PT002", pattern.format(2 + start))]


@pytest.mark.parametrize("pattern", ["step_{}.pt", "checkpoint-{}.pth", "epoch{}.pt"])
@pytest.mark.parametrize("world", [1, 3])
def test_steps_are_not_taken_for_ranks(tmp_path, pattern, world):
    for step in (1, 2):
        torch.save({"mp_size": world, "model": {"w": torch.ones(2)}}, tmp_path / pattern.format(step))
    assert {match.format for match in members(tmp_path)} == {"torch"}
