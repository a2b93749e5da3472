"""The conversion guide's own command lines, in one process on a CPU."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file


@pytest.fixture
def guide(base_model, tmp_path):
    """Run the guide's command on a checkpoint, `--output_dir` being tmp_path/NEW_MODEL_DIR unless it is given."""

    def run(checkpoint, *arguments, base=base_model, output=None, **environment):
        output = output or tmp_path / "NEW_MODEL_DIR"
        command = [sys.executable, "-m", "ckpt_fsdp.convert_to_hf_format", "--checkpoint_dir", str(checkpoint)]
        command += ["--output_dir", str(output), "--base_model_path", str(base), *arguments]
        done = subprocess.run(
            command, env={**os.environ, **environment}, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        return output, done

    return run


@pytest.fixture
def sharded(made):
    return made("bagel_dcp_save.py", 4) / "dcp"


def test_both_models_are_converted_by_default_to_bfloat16(sharded, guide, base_model, tiny_bagel):
    output, done = guide(sharded)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in base_model.iterdir()} < {path.name for path in output.iterdir()}
    main, average = load_file(output / "model.safetensors"), load_file(output / "ema.safetensors")
    assert {t.dtype for t in (*main.values(), *average.values())} == {torch.bfloat16}
    assert any(not torch.equal(main[name], average[name]) for name in main)
    assert f"NaViT: {tiny_bagel.PATCH_EMBEDDING} conv2d to linear" in done.stdout
    assert "85 tensors match the structure of the base's ema" in done.stdout
    assert "verified: 170 tensors read back and equal" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(("models", "lacks"), [("ema", "model.safetensors"), ("main", "ema.safetensors")])
def test_models_chooses_one(sharded, guide, models, lacks):
    output, done = guide(sharded, "--models", models)
    assert done.returncode == 0, done.stderr
    index = json.loads((output / "model.safetensors.index.json").read_text())
    assert not (output / lacks).exists() and lacks not in index["weight_map"].values()


def test_dtype_keep_keeps_the_types(sharded, guide):
    output, _ = guide(sharded, "--models", "main", "--dtype", "keep", "--max_shard_size", "20KB")
    found = [t for path in output.glob("model-*.safetensors") for t in load_file(path).values()]
    assert len(found) == 85 and {t.dtype for t in found} == {torch.float32}


def test_the_number_of_visible_devices_is_remarked_and_changes_nothing(sharded, guide):
    _, done = guide(sharded, "--models", "ema", CUDA_VISIBLE_DEVICES="1,2,3,4")
    assert done.returncode == 0
    assert "note: CUDA_VISIBLE_DEVICES names 4 for 1 processes" in done.stderr


def test_the_base_is_never_the_output(sharded, guide, base_model, tmp_path):
    (tmp_path / "link").symlink_to(base_model)
    for output in (base_model, f"{base_model}/", base_model / "inside", tmp_path / "link", tmp_path / "link" / "x"):
        _, done = guide(sharded, "--force", output=output)
        assert done.returncode == 9 and "the base model" in done.stderr, output


def test_another_structure_ends_with_4_and_a_wrong_argument_with_2(sharded, guide, tiny_bagel, tmp_path):
    output, done = guide(sharded, base=tiny_bagel.publish(tmp_path / "deeper", layers=3))
    assert done.returncode == 4 and "30 missing" in done.stderr and not output.exists()
    assert guide(sharded, "--models", "half")[1].returncode == 2
    assert guide(tmp_path / "nowhere")[1].returncode == 3


def test_a_lost_shard_ends_it_with_the_tensor_and_its_rows(sharded, guide, copy_of):
    broken = copy_of(sharded)
    (broken / "__2_0.distcp").unlink()
    output, done = guide(broken)
    assert done.returncode == 4 and "__2_0.distcp" in done.stderr and not output.exists()


def test_optional_lets_more_tensors_go(sharded, guide, base_model, tmp_path):
    from safetensors.torch import save_file

    bare = tmp_path / "bare"
    bare.mkdir()
    for path in base_model.glob("*.json"):
        (bare / path.name).write_bytes(path.read_bytes())
    weights = load_file(base_model / "ema.safetensors")
    save_file({name: t for name, t in weights.items() if "time_embedder" not in name}, bare / "ema.safetensors")
    (bare / "model.safetensors.index.json").unlink()
    assert guide(sharded, base=bare)[1].returncode == 4
    _, done = guide(sharded, "--optional", "time_embedder.*", base=bare)
    assert done.returncode == 0 and "left out, for the base lacks them: time_embedder.mlp.0" in done.stdout


def torchrun(processes, checkpoint, output, base, *arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--standalone"]
    command += ["-m", "ckpt_fsdp.convert_to_hf_format", "--checkpoint_dir", str(checkpoint)]
    command += ["--output_dir", str(output), "--base_model_path", str(base), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "0"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("processes", [2, *(pytest.param(count, marks=pytest.mark.long) for count in (1, 3))])
def test_under_torchrun_the_bytes_are_the_same_and_one_process_speaks(sharded, guide, base_model, tmp_path, processes):
    alone, _ = guide(sharded)
    done = torchrun(processes, sharded, tmp_path / "together", base_model)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "together") == contents(alone)
    assert done.stdout.count("verified: 170 tensors") == 1
    assert done.stderr.count("note: CUDA_VISIBLE_DEVICES names 1") == (processes > 1)


@pytest.mark.long
def test_under_torchrun_a_base_that_does_not_fit_is_told_once(sharded, tiny_bagel, tmp_path):
    deeper = tiny_bagel.publish(tmp_path / "deeper", layers=3)
    done = torchrun(2, sharded, tmp_path / "together", deeper)
    assert done.returncode != 0 and not (tmp_path / "together").exists()
    assert done.stderr.count("error CA006") == 1 and done.stdout == ""
