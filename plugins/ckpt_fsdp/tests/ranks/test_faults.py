"""Rank files that were lost, cut, swapped, mixed or forged: each said by name, none filled up."""

import os
import pickle
import shutil
import zipfile

import pytest
import torch
from ckpt_fsdp.rank_sets import RankSet
from ckpt_fsdp.ranks.names import group, parse

import ckpt_core


@pytest.fixture(scope="session")
def saves(made):
    return made("ranks_save.py", 4)


@pytest.fixture
def fsdp2(saves, copy_of):
    return copy_of(saves / "fsdp2")


def findings(folder, depth=ckpt_core.Depth.LAYOUT):
    return ckpt_core.verify(str(folder), depth=depth).report.findings


def codes(folder, depth=ckpt_core.Depth.LAYOUT):
    return {finding.code for finding in findings(folder, depth)}


@pytest.mark.parametrize(("rank", "rows"), [(1, "[2:4, 0:6]"), (3, "[6:7, 0:6]")])
def test_a_missing_file_is_named_with_the_rows_it_had(fsdp2, tmp_path, rank, rows):
    (fsdp2 / f"model_world_size_4_rank_{rank}.pt").unlink()
    found = findings(fsdp2)
    assert [f.path for f in found if f.code == "RK001"] == [f"model_world_size_4_rank_{rank}.pt"]
    (hole,) = [f for f in found if f.code == "CV005" and f.tensor == "embed.weight"]
    assert rows in hole.message
    with pytest.raises(ckpt_core.CkptError) as refused:
        ckpt_core.load(str(fsdp2)).to_torch("model")
    assert refused.value.exit_code == 4


def test_a_missing_file_of_replicas_leaves_no_hole(saves, copy_of):
    folder = copy_of(saves / "hsdp")
    (folder / "model_world_size_4_rank_2.pt").unlink()
    assert codes(folder) == {"RK001"}
    assert torch.equal(
        ckpt_core.load(str(folder)).to_torch("model")["up.weight"],
        torch.load(saves / "hsdp.full.pt")["model"]["up.weight"],
    )


def test_a_rank_whose_random_numbers_are_lost_is_an_error_and_the_model_is_converted(fsdp2, tmp_path):
    (fsdp2 / "extra_state_world_size_4_rank_2.pt").unlink()
    (found,) = findings(fsdp2)
    assert (found.code, found.severity, found.component) == ("RK001", ckpt_core.Severity.ERROR, "rng:2")
    ckpt_core.convert(str(fsdp2), str(tmp_path / "model.safetensors"), components=["model"])
    with pytest.raises(ckpt_core.CorruptError, match="rank_2"):
        ckpt_core.convert(str(fsdp2), str(tmp_path / "all.pt"))


def test_swapped_files_are_told_and_still_read_rightly(fsdp2, saves):
    first, second = (fsdp2 / f"model_world_size_4_rank_{rank}.pt" for rank in (1, 2))
    first.rename(fsdp2 / "kept")
    second.rename(first)
    (fsdp2 / "kept").rename(second)
    found = findings(fsdp2)
    assert [(f.code, f.path) for f in found] == [("RK003", first.name), ("RK003", second.name)]
    assert "rank 2 wrote this" in found[0].message
    expected = torch.load(saves / "fsdp2.full.pt")["model"]["embed.weight"]
    assert torch.equal(ckpt_core.load(str(fsdp2)).to_torch("model")["embed.weight"], expected)


def test_a_file_copied_over_another_leaves_a_hole(fsdp2):
    shutil.copy(fsdp2 / "model_world_size_4_rank_0.pt", fsdp2 / "model_world_size_4_rank_1.pt")
    assert codes(fsdp2) == {"RK003", "CV005"}


def test_a_cut_file_is_named(fsdp2):
    path = fsdp2 / "model_world_size_4_rank_2.pt"
    os.truncate(path, path.stat().st_size // 2)
    found = findings(fsdp2)
    assert path.name in {f.path for f in found if f.severity is ckpt_core.Severity.ERROR}
    assert "CV005" in {f.code for f in found}


def test_names_of_another_world_are_told(fsdp2):
    for path in list(fsdp2.glob("*_rank_[01].pt")):
        path.rename(fsdp2 / path.name.replace("world_size_4", "world_size_2"))
    for path in list(fsdp2.glob("*_world_size_4_*")):
        path.unlink()
    assert codes(fsdp2) == {"RK002", "CV005"}


def test_files_of_two_saves_are_not_mixed(fsdp2):
    shutil.copy(fsdp2 / "model_world_size_4_rank_0.pt", fsdp2 / "model_world_size_8_rank_0.pt")
    with pytest.raises(ckpt_core.CorruptError, match="by 4 and 8 ranks") as refused:
        ckpt_core.load(str(fsdp2))
    assert refused.value.code == "RK004"
    assert codes(fsdp2) == {"RK004"}


def test_a_shape_that_one_rank_has_otherwise_is_an_error(fsdp2):
    path = fsdp2 / "model_world_size_4_rank_1.pt"
    torch.save({"table": torch.zeros(6)}, path)
    found = {f.code: f for f in findings(fsdp2)}
    assert found["RK005"].tensor == "table"
    assert "rank 1" in found["RK005"].message


def test_files_that_say_nothing_of_ranks_are_not_taken_for_copies(tmp_path):
    for rank in range(2):
        torch.save({"weight": torch.ones(3)}, tmp_path / f"model_world_size_2_rank_{rank}.pt")
    report = findings(tmp_path)
    assert {f.code for f in report if f.severity is ckpt_core.Severity.ERROR} == {"RK006"}


def test_an_optimizer_over_flat_parameters_is_kept_apart_by_rank(saves, copy_of):
    folder = copy_of(saves / "plain")
    assert codes(folder) == {"RK010"}
    labels = [component.label for component in ckpt_core.load(str(folder)).manifest.components]
    assert labels == [f"optimizer:{rank}" for rank in range(4)]
    (folder / "optim_world_size_4_rank_2.pt").unlink()
    assert codes(folder) == {"RK001", "RK010"}


def test_flat_parameters_are_refused_with_the_reason(saves):
    with pytest.raises(ckpt_core.UnsupportedFormatError, match="flat parameter of FSDP1") as refused:
        ckpt_core.load(str(saves / "local"))
    assert (refused.value.code, refused.value.exit_code) == ("RK007", 6)


def test_another_learning_rate_in_one_rank_is_told(fsdp2):
    path = fsdp2 / "extra_state_world_size_4_rank_3.pt"
    extra = torch.load(path, weights_only=False)
    extra["lr_scheduler"]["last_epoch"] = 99
    torch.save(extra, path)
    (found,) = findings(fsdp2)
    assert found.code == "RK008"
    assert "rank 3 kept another state than rank 0" in found.message


def test_copies_that_differ_are_found_by_their_bytes(saves, copy_of):
    folder = copy_of(saves / "hsdp")
    path = folder / "model_world_size_4_rank_3.pt"
    changed = torch.load(path, weights_only=False)
    changed["table"] = changed["table"] + 1
    torch.save(changed, path)
    assert codes(folder) == set()
    (found,) = findings(folder, ckpt_core.Depth.BYTES)
    assert (found.code, found.tensor, found.path) == ("RK009", "table", path.name)


def test_a_file_that_would_run_code_is_refused_and_runs_nothing(fsdp2, tmp_path):
    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'mark'}",)

    with zipfile.ZipFile(fsdp2 / "model_world_size_4_rank_1.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"w": Payload()}, 2))
        archive.writestr("archive/version", "3\n")
    for ask in (ckpt_core.load, ckpt_core.inspect, ckpt_core.verify):
        with pytest.raises(ckpt_core.UnsafeContentError) as refused:
            ask(str(fsdp2))
        assert refused.value.exit_code == 7
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model_world_size_4_rank_0.pt", ("model", "", 0, 4)),
        ("optim_world_size_16_rank_12.pt", ("optimizer", "", 12, 16)),
        ("extra_state_world_size_2_rank_1.pt", ("extra", "", 1, 2)),
        ("pytorch_model_fsdp_0_rank3.bin", ("model", "", 3, None)),
        ("optimizer_1_rank0.bin", ("optimizer", "1", 0, None)),
    ],
)
def test_names_are_told_apart(name, expected):
    found = parse(name)
    assert (found.part, found.number, found.rank, found.world) == expected


@pytest.mark.parametrize(
    "name", ["model_rank_0.pt", "pytorch_model_fsdp_0", "optimizer.bin", "pytorch_model_fsdp_rank3.bin"]
)
def test_other_names_are_none_of_them(name):
    assert parse(name) is None


def test_the_name_of_a_lost_file_follows_that_of_its_neighbours():
    (found,) = group(["model_world_size_4_rank_0.pt"])
    assert found.name_of(2) == "model_world_size_4_rank_2.pt"
    assert RankSet("model", paths={3: "model_rank00003.pt"}).name_of(12) == "model_rank00012.pt"
