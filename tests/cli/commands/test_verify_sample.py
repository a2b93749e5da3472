"""`ckpt verify --sample` and `--time-budget`: a part is read, and the report says so; damage in it is found."""

import json

import pytest
import torch

from ckpt_core.storage.digests import BLOCK

MIB = 1 << 20


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Files of 8 MiB: one of safetensors and one of torch, all values sound."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("large")
    tensors = {f"layer.{number}.weight": torch.ones(MIB // 2) for number in range(4)}
    save_file(tensors, folder / "w.safetensors")
    torch.save(tensors, folder / "w.pt")
    return folder


def damaged(large, folder, name, at, value=b"\x00\x00\xc0\x7f"):
    content = bytearray((large / name).read_bytes())
    content[at : at + 4] = value
    (folder / name).write_bytes(content)
    return folder / name


def test_a_sample_says_how_much_it_read_and_exits_with_0(ckpt, large):
    done = ckpt("verify", large / "w.safetensors", "--depth", "values", "--sample", "25%")
    assert done.code == 0
    assert "CK020 info     -  a sample: 3 of 9 blocks were read, in 1 of 1 files; seed 0" in done.out
    last = done.out.splitlines()[-1]
    assert last.startswith("ok: 2.0 MiB of 8.0 MiB read") and last.endswith("; 4 tensors")
    assert done == ckpt("verify", large / "w.safetensors", "--depth", "values", "--sample", "0.25")


def test_json_says_how_many_bytes_of_how_many(ckpt, large):
    done = ckpt("verify", large / "w.safetensors", "--depth", "bytes", "--sample", "10%", "--json")
    result = json.loads(done.out)["result"]
    assert 0 < result["checked_bytes"] <= MIB and result["total_bytes"] == 8 * MIB


def test_a_value_is_found_by_the_seeds_that_read_its_block(ckpt, large, tmp_path):
    path = damaged(large, tmp_path, "w.safetensors", 5 * BLOCK + 400)
    codes = [ckpt("verify", path, "--depth", "values", "--sample", "10%", "--seed", seed).code for seed in range(12)]
    assert 4 in codes and 0 in codes
    done = ckpt("verify", path, "--depth", "values", "--sample", "100%")
    assert (done.code, "1 of 524288 values are NaN" in done.out, "CK02" in done.out) == (4, True, False)


def test_what_is_zero_in_a_sample_is_not_called_all_zero(ckpt, tmp_path):
    from safetensors.torch import save_file

    save_file({"w": torch.cat([torch.zeros(2, MIB), torch.ones(1, MIB)])}, tmp_path / "w.safetensors")
    for seed in range(4):
        asked = ("verify", tmp_path / "w.safetensors", "--depth", "values", "--sample", "8%", "--seed", seed)
        assert "VL003" not in ckpt(*asked).out


def test_checksums_that_need_more_than_was_read_are_said_to_be_unchecked(ckpt, large, tmp_path):
    done = ckpt("verify", large / "w.pt", "--depth", "bytes", "--sample", "25%")
    assert done.code == 0 and "CK022 info" in done.out
    path = damaged(large, tmp_path, "w.pt", 5 * BLOCK + 400)
    assert ckpt("verify", path, "--depth", "bytes", "--sample", "100%").code == 0, "a value of another bit pattern"
    assert ckpt("verify", path, "--depth", "bytes").code == 4


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")  # of torch: one process, no group
def test_what_needs_all_bytes_of_a_part_is_said_to_be_unchecked(ckpt, tmp_path):
    from torch.distributed import checkpoint as dcp

    step = tmp_path / "step-4"
    dcp.save({"w": torch.ones(64)}, checkpoint_id=step / "pytorch_model_fsdp_0", no_dist=True)
    dcp.save({"state.w.exp_avg": torch.ones(64)}, checkpoint_id=step / "optimizer_0", no_dist=True)
    unchecked = "checksums of items, and copies, were not compared: that needs all bytes"
    for path, folders in ((step / "optimizer_0", ["-"]), (step, ["optimizer_0", "pytorch_model_fsdp_0"])):
        lines = ckpt("verify", path, "--depth", "bytes", "--sample", "50%").out.splitlines()
        assert [line for line in lines if "CK022" in line] == [f"CK022 info     {at}  {unchecked}" for at in folders]
        answer = json.loads(ckpt("verify", path, "--depth", "bytes", "--time-budget", "60s", "--json").out)
        found = [finding for finding in answer["findings"] if finding["code"] == "CK022"]
        assert [finding["path"] or "-" for finding in found] == folders
        assert all(finding["message"].endswith(unchecked) for finding in found)
    assert "CK022" not in ckpt("verify", step, "--depth", "bytes").out


def test_a_seal_is_held_against_the_blocks_that_were_read(ckpt, large, tmp_path):
    whole = tmp_path / "w.safetensors"
    whole.write_bytes((large / "w.safetensors").read_bytes())
    assert ckpt("seal", whole).code == 0
    assert ckpt("verify", whole, "--depth", "bytes", "--sample", "30%").code == 0
    damaged(large, tmp_path, "w.safetensors", 5 * BLOCK + 400, b"\x01\x02\x03\x04")
    done = ckpt("verify", whole, "--depth", "bytes", "--sample", "100%")
    assert done.code == 4 and "SL002" in done.out
    codes = [ckpt("verify", whole, "--depth", "bytes", "--sample", "10%", "--seed", seed).code for seed in range(12)]
    assert 0 in codes and 4 in codes


def test_time_that_is_used_up_is_a_warning_and_never_nothing(ckpt, large):
    asked = ("verify", large / "w.safetensors", "--depth", "values", "--time-budget", "0.000001s")
    done = ckpt(*asked)
    assert done.code == 0
    assert "CK021 warning  -  the time was used up after 1e-06 s: 1 of 9 blocks were read, in 1 of 1 files" in done.out
    assert " of 8.0 MiB read" in done.out.splitlines()[-1]
    assert ckpt(*asked, "--fail-on", "warning").code == 1


def test_time_that_suffices_reads_everything_and_adds_no_word(ckpt, large):
    done = ckpt("verify", large / "w.safetensors", "--depth", "values", "--time-budget", "2m")
    assert "CK02" not in done.out and done.out.splitlines()[-1].startswith("ok: 8.0 MiB read")


def test_of_a_folder_each_checkpoint_gets_a_part_of_the_time(ckpt, large):
    done = ckpt("verify", large, "--depth", "bytes", "--time-budget", "0.000001", "--json")
    assert [finding["code"] for finding in json.loads(done.out)["findings"]].count("CK021") == 2


def test_tensors_without_a_plain_run_are_sampled_box_by_box(ckpt, tmp_path):
    torch.save({"w": torch.ones(1200, 1000).t()}, tmp_path / "w.pt")
    done = ckpt("verify", tmp_path / "w.pt", "--depth", "values", "--sample", "20%")
    assert done.code == 0 and "CK020" in done.out


@pytest.mark.parametrize(
    "options",
    [
        ("--sample", "10%"),
        ("--time-budget", "5"),
        ("--depth", "layout", "--sample", "0.5"),
        ("--depth", "bytes", "--seed", "3"),
        ("--depth", "bytes", "--sample", "0"),
        ("--depth", "bytes", "--sample", "101%"),
        ("--depth", "bytes", "--sample", "ten"),
        ("--depth", "bytes", "--time-budget", "0s"),
        ("--depth", "bytes", "--time-budget", "5d"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(ckpt, large, options):
    assert ckpt("verify", large / "w.safetensors", *options).code == 2
