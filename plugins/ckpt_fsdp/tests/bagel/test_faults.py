"""Training directories of BAGEL that lack something, or that say what is not so."""

import json
import os
import pickle
import shutil
import zipfile

import pytest
import torch

import ckpt_core


@pytest.fixture(scope="session")
def saves(made):
    return made("bagel_save.py", 2)


@pytest.fixture
def broken(saves, copy_of):
    """A copy of one of the four, at its step."""
    return lambda name: copy_of(saves / name / "0000400", "0000400")


def findings(folder, depth=ckpt_core.Depth.LAYOUT):
    return [f for f in ckpt_core.verify(str(folder), depth=depth).report.findings if f.code != "BG003"]


def codes(folder):
    return {finding.code for finding in findings(folder)}


def edit_metadata(folder, **changes):
    path = folder / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("model_sharded", "checkpoint_type"),
        ("ema_sharded", "has_ema"),
        ("scheduler.pt", "has_scheduler"),
        ("data_status.pt", "has_data_status"),
    ],
)
def test_what_metadata_promises_and_is_not_there_is_an_error(broken, path, key):
    folder = broken("dcp")
    place = folder / path
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    (found,) = [f for f in findings(folder) if f.code == "BG001"]
    assert found.severity is ckpt_core.Severity.ERROR
    assert f"{key} says" in found.message


def test_a_lost_optimizer_is_an_error_where_every_save_writes_one(broken):
    folder = broken("dcp")
    for path in folder.glob("optimizer_rank*"):
        path.unlink()
    assert codes(folder) == {"BG001"}


def test_a_lost_model_is_never_read_from_elsewhere_unsaid(broken):
    folder = broken("dcp")
    shutil.rmtree(folder / "model_sharded")
    assert codes(folder) == {"BG001", "BG007"}


@pytest.mark.parametrize("name", ["dcp", "ranks", "fsdp2", "upstream"])
def test_the_model_never_stands_in_for_a_lost_ema(broken, name):
    folder = broken(name)
    for path in folder.glob("ema*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    checkpoint = ckpt_core.load(str(folder))
    assert "ema" not in {component.kind for component in checkpoint.manifest.components}
    assert codes(folder) == ({"BG001"} if name in ("dcp", "ranks") else {"BG002"})
    with pytest.raises(ckpt_core.UsageError, match="no component ema"):
        checkpoint.to_torch("ema")


def test_a_run_without_ema_says_so_itself(broken):
    folder = broken("ranks")
    for path in folder.glob("ema_rank*"):
        path.unlink()
    edit_metadata(folder, has_ema=False)
    assert codes(folder) == set()
    roles = {role.label: role for role in ckpt_core.load(str(folder)).manifest.roles}
    assert roles["ema"].presence is ckpt_core.Presence.NOT_NEEDED


@pytest.mark.parametrize(("name", "rank"), [("ranks", 0), ("ranks", 1)])
def test_a_lost_rank_file_is_named_with_its_rows(broken, name, rank):
    folder = broken(name)
    (folder / f"ema_rank{rank:05d}.pt").unlink()
    found = findings(folder)
    assert [f.path for f in found if f.code == "RK001"] == [f"ema_rank{rank:05d}.pt"]
    (hole,) = [f for f in found if f.code == "CV005" and f.tensor == "embed.weight"]
    assert ("[0:4, 0:4]", "[4:7, 0:4]")[rank] in hole.message


def test_a_lost_shard_of_dcp_is_named(broken):
    folder = broken("dcp")
    (folder / "ema_sharded" / "__1_0.distcp").unlink()
    found = findings(folder)
    assert {f.path for f in found} == {"ema_sharded/__1_0.distcp"}
    assert all(f.code == "CV001" for f in found)
    assert ckpt_core.load(str(folder)).to_torch("model")
    with pytest.raises(ckpt_core.CorruptError):
        ckpt_core.load(str(folder)).to_torch("ema")


def test_a_lost_dot_file_is_named(broken):
    folder = broken("dcp")
    (folder / "model_sharded" / ".metadata").unlink()
    assert "model_sharded/.metadata" in {f.path for f in findings(folder)}


def test_a_lost_part_of_a_flat_optimizer_is_named(broken):
    folder = broken("upstream")
    (folder / "optimizer.00001-of-00002.pt").unlink()
    (found,) = findings(folder)
    assert (found.code, found.path) == ("BG004", "optimizer.00001-of-00002.pt")


def test_fewer_ranks_in_metadata_than_files_is_told(broken):
    folder = broken("ranks")
    edit_metadata(folder, world_size=1)
    assert "BG005" in codes(folder)


def test_more_ranks_in_metadata_than_files_is_told(broken):
    folder = broken("ranks")
    edit_metadata(folder, world_size=3)
    assert {f.path for f in findings(folder) if f.code == "RK001"} == {
        "model_rank00002.pt",
        "ema_rank00002.pt",
        "optimizer_rank00002.pt",
    }


@pytest.mark.parametrize("world", [0, "2", None, True])
def test_a_world_size_that_is_no_number_is_told(broken, world):
    folder = broken("dcp")
    edit_metadata(folder, world_size=world)
    assert "BG005" in codes(folder)


def test_a_renamed_directory_is_told(broken, tmp_path):
    folder = broken("dcp").rename(tmp_path / "0000500")
    (found,) = findings(folder)
    assert found.code == "BG006"
    assert "step 400" in found.message
    assert ckpt_core.load(str(folder)).manifest.step == 400


def test_two_models_are_told(broken, saves):
    folder = broken("upstream")
    torch.save({"w": torch.zeros(1)}, folder / "model.pt")
    assert codes(folder) == {"BG007"}
    assert "embed.weight" in ckpt_core.load(str(folder)).component("model").tensors


def test_a_copy_of_other_tensors_is_told(broken):
    from safetensors.torch import save_file

    folder = broken("dcp")
    save_file({"embed.weight": torch.zeros(1)}, folder / "model_full.safetensors")
    (found,) = findings(folder)
    assert (found.code, found.tensor) == ("BG007", "embed.weight")


def test_positions_of_too_few_ranks_are_told(broken):
    folder = broken("upstream")
    torch.save([{"t2i": {0: [0, 0, 0]}}], folder / "data_status.pt")
    (found,) = findings(folder)
    assert found.code == "BG008"


def test_a_cut_file_is_named(broken):
    folder = broken("fsdp2")
    os.truncate(folder / "ema.safetensors", 200)
    assert "ema.safetensors" in {f.path for f in findings(folder) if f.severity is ckpt_core.Severity.ERROR}


def test_an_empty_directory_that_is_insisted_on_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ckpt_core.CorruptError, match="none of BAGEL's files") as refused:
        ckpt_core.load(str(tmp_path), format="bagel")
    assert refused.value.code == "BG009"


@pytest.mark.parametrize("path", ["model_rank00001.pt", "optimizer_rank00001.pt", "data_status.pt"])
def test_a_file_that_would_run_code_is_refused_and_runs_nothing(broken, tmp_path, path):
    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'mark'}",)

    folder = broken("ranks")
    with zipfile.ZipFile(folder / path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"w": Payload()}, 2))
        archive.writestr("archive/version", "3\n")
    for ask in (ckpt_core.load, ckpt_core.inspect, ckpt_core.verify):
        with pytest.raises(ckpt_core.UnsafeContentError) as refused:
            ask(str(folder))
        assert refused.value.exit_code == 7
    assert not (tmp_path / "mark").exists()
