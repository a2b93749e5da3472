"""Rank files of any name: which are of one save is told by what they say, and they become what was saved."""

import math
import tempfile
from pathlib import Path

import pytest
import torch
from ckpt_fsdp.ranks.grouping import RankedFile, saves_of
from ckpt_fsdp.ranks.heads import Told, number_of, told
from hypothesis import given, settings
from hypothesis import strategies as st

import ckpt_core

NAMES = {
    "words": "model_rank{}.pt",
    "short": "shard_{}.pth",
    "padded": "ckpt-r{:05d}.pt",
    "from one": "part{}of4.bin".replace("{}", "{one}"),
    "torchtitan": "dump.{}.ckpt",
    "the step too": "step_1200-rank-{}.pt",
}
WEIGHTS = {"embed.weight": torch.arange(35.0).reshape(7, 5), "norm.weight": torch.arange(5.0)}
CUT = {"embed.weight": (0,), "norm.weight": (0,)}


def name_of(pattern, rank):
    return pattern.format(rank, one=rank + 1)


def members(folder):
    files = ckpt_core.list_files(str(folder))
    found = ckpt_core.get_plugin_manager().hooks.detect_format(files=files)
    return [found.best] if found.best else list(found.members)


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def codes(ref):
    return {finding.code for finding in ckpt_core.verify(str(ref)).report.findings}


@pytest.mark.parametrize("pattern", NAMES.values(), ids=NAMES)
def test_files_of_any_name_are_one_checkpoint(save_ranks, tmp_path, pattern):
    save_ranks(tmp_path, lambda rank: name_of(pattern, rank), WEIGHTS, (4,), CUT)
    (match,) = members(tmp_path)
    assert (match.format, len(match.files)) == ("fsdp-ranks", 4)
    assert_equal(ckpt_core.load(str(tmp_path)).to_torch("model"), WEIGHTS)
    assert codes(tmp_path) == set()


@pytest.mark.parametrize("lost", range(4))
@pytest.mark.parametrize("pattern", NAMES.values(), ids=NAMES)
def test_a_lost_file_is_an_error_that_names_it_and_nothing_is_written(save_ranks, tmp_path, pattern, lost):
    folder = tmp_path / "saved"
    folder.mkdir()
    save_ranks(folder, lambda rank: name_of(pattern, rank), WEIGHTS, (4,), CUT)
    (folder / name_of(pattern, lost)).unlink()
    report = ckpt_core.verify(str(folder)).report
    missing = [finding for finding in report.findings if finding.code == "RK001"]
    assert [(finding.path, finding.severity) for finding in missing] == [
        (name_of(pattern, lost), ckpt_core.Severity.ERROR)
    ]
    with pytest.raises(ckpt_core.CorruptError):
        ckpt_core.convert(str(folder), str(tmp_path / "out.safetensors"))
    assert not (tmp_path / "out.safetensors").exists()


def test_a_lost_copy_of_hybrid_sharding_is_an_error_although_no_element_is_lost(save_ranks, tmp_path):
    save_ranks(tmp_path, "r{}.pt".format, WEIGHTS, (2, 2), dict.fromkeys(WEIGHTS, (None, 0)))
    (tmp_path / "r3.pt").unlink()
    assert codes(tmp_path) == {"RK001"}


@pytest.mark.parametrize("damage", [b"", b"not a torch file at all", None])
@pytest.mark.parametrize("broken", [0, 2])
def test_a_file_that_is_broken_is_not_called_missing(save_ranks, tmp_path, damage, broken):
    save_ranks(tmp_path, "model_{}.pt".format, WEIGHTS, (4,), CUT)
    path = tmp_path / f"model_{broken}.pt"
    path.write_bytes(path.read_bytes()[:700] if damage is None else damage)
    report = ckpt_core.verify(str(tmp_path)).report
    assert path.name in {found.path for found in report.findings if found.severity is ckpt_core.Severity.ERROR}
    assert "RK001" not in {finding.code for finding in report.findings}


def test_all_that_a_rank_saves_is_split_into_components(save_ranks, tmp_path):
    def wrap(rank, state):
        return {"model": state, "rng_state": torch.tensor([rank]), "step": 40, "lr_scheduler": {"last_epoch": 40}}

    save_ranks(tmp_path, "global_{}.pt".format, WEIGHTS, (4,), CUT, wrap)
    checkpoint = ckpt_core.load(str(tmp_path))
    labels = [component.label for component in checkpoint.manifest.components]
    assert labels == ["model", "scheduler", "rng:0", "rng:1", "rng:2", "rng:3", "progress"]
    assert checkpoint.manifest.step == 40
    assert_equal(checkpoint.to_torch("model"), WEIGHTS)
    assert codes(tmp_path) == set()


def test_model_and_optimizer_in_files_of_their_own_are_one_save(save_ranks, tmp_path):
    for kind, scale in (("model", 1), ("optim", 2)):
        tensors = {name: tensor * scale for name, tensor in WEIGHTS.items()}
        save_ranks(tmp_path, (kind + "_rank_{}.pt").format, tensors, (4,), CUT)
    checkpoint = ckpt_core.load(str(tmp_path))
    assert [component.label for component in checkpoint.manifest.components] == ["model", "optimizer"]
    assert_equal(checkpoint.to_torch("optimizer"), {name: tensor * 2 for name, tensor in WEIGHTS.items()})


@pytest.mark.parametrize("pattern", ["step_{step}_rank_{rank}.pt", "rank{rank}-{step}.pth", "{step}.{rank}.ckpt"])
def test_two_saves_in_one_folder_are_two_checkpoints(save_ranks, tmp_path, pattern):
    for step in (100, 200):
        tensors = {name: tensor + step for name, tensor in WEIGHTS.items()}
        save_ranks(tmp_path, lambda rank, step=step: pattern.format(step=step, rank=rank), tensors, (4,), CUT)
    found = members(tmp_path)
    assert [len(match.files) for match in found] == [4, 4]
    for match, step in zip(found, (100, 200), strict=True):
        place = f"{tmp_path}#{match.root}"
        expected = {name: tensor + step for name, tensor in WEIGHTS.items()}
        assert_equal(ckpt_core.load(place).to_torch("model"), expected)
    (tmp_path / pattern.format(step=200, rank=3)).unlink()
    assert codes(f"{tmp_path}#{found[0].root}") == set()
    assert "RK001" in codes(f"{tmp_path}#{found[1].root}")


@pytest.mark.parametrize("names", [("step_1.pt", "step_2.pt"), ("a_0.pt", "a_1.pt"), ("last.pt", "best.pt")])
def test_checkpoints_of_one_rank_each_are_not_taken_for_ranks(save_ranks, tmp_path, names):
    for name in names:
        save_ranks(tmp_path, lambda rank, name=name: name, WEIGHTS, (1,), CUT)
    assert [(match.format, match.root) for match in members(tmp_path)] == [("torch", name) for name in sorted(names)]


@pytest.mark.parametrize("names", [("step_1.pt", "step_2.pt"), ("a_0.pt", "a_1.pt"), ("e.10.pt", "e.20.pt")])
def test_steps_of_which_only_the_first_rank_was_saved_are_not_taken_for_ranks(save_ranks, tmp_path, names):
    for name in names:
        save_ranks(tmp_path, lambda rank, name=name: name if rank == 0 else "gone", WEIGHTS, (2,), CUT)
        (tmp_path / "gone").unlink()
    found = members(tmp_path)
    assert [match.root for match in found] == sorted(names)
    for name in names:
        assert "CV005" in codes(f"{tmp_path}#{name}")


@pytest.mark.parametrize("names", [("step_1.pt", "step_2.pt"), ("rank_0.pt", "rank_1.pt"), ("s.000.pt", "s.001.pt")])
def test_files_without_parts_of_tensors_stay_apart(tmp_path, names):
    for name in names:
        torch.save(WEIGHTS, tmp_path / name)
    assert {match.format for match in members(tmp_path)} == {"torch"}


NAME = st.text("abcdefghij0123456789_-", min_size=1, max_size=8)


@st.composite
def sharded(draw):
    """Names, whole tensors, sizes of a mesh, and how each tensor lies on it."""
    mesh = draw(st.sampled_from([(2,), (3,), (4,), (2, 2), (2, 3)]))
    shapes = draw(st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=3), min_size=1, max_size=3))
    tensors = {f"t{n}.weight": torch.randn(shape) for n, shape in enumerate(shapes)}
    lies = {
        name: [draw(st.sampled_from([None, *range(tensor.dim())])) for _ in mesh] for name, tensor in tensors.items()
    }
    names = draw(st.lists(NAME, min_size=math.prod(mesh), max_size=math.prod(mesh), unique=True))
    return names, tensors, mesh, lies


@settings(max_examples=25, deadline=None)
@given(drawn=sharded(), data=st.data())
def test_any_sharding_in_files_of_any_names_is_joined_and_no_file_can_be_lost(save_ranks, drawn, data):
    names, tensors, mesh, lies = drawn
    with tempfile.TemporaryDirectory() as folder:
        save_ranks(Path(folder), lambda rank: f"{names[rank]}.pt", tensors, mesh, lies)
        assert_equal(ckpt_core.load(folder).to_torch("model"), tensors)
        assert codes(folder) == set()
        Path(folder, f"{data.draw(st.sampled_from(names))}.pt").unlink()
        found = [ckpt_core.verify(f"{folder}#{match.root}" if match.root else folder) for match in members(folder)]
        errors = {f.severity for one in found for f in one.report.findings}
        assert ckpt_core.Severity.ERROR in errors


@given(st.integers(2, 9), st.lists(st.integers(0, 10**6), min_size=1, max_size=4, unique=True), st.booleans())
def test_names_with_a_step_are_grouped_by_it(world, steps, first):
    pattern = "r{rank}_s{step}.pt" if first else "s{step}_r{rank}.pt"
    files = [RankedFile(pattern.format(rank=rank, step=step), rank, world) for step in steps for rank in range(world)]
    found = {tuple(sorted(save.paths)) for save in saves_of(files)}
    assert found == {tuple(sorted(f.path for f in files if f"s{s}_" in f.path or f"s{s}." in f.path)) for s in steps}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("value", [0, 255, 256, 65536])
def test_a_number_is_found_by_its_key(tmp_path, protocol, value):
    torch.save({"a": torch.ones(2), "mp_size": value}, tmp_path / "a.pt", pickle_protocol=protocol)
    head = (tmp_path / "a.pt").read_bytes()
    assert number_of(head, "mp_size") == value
    assert number_of(head, "size") is None
    assert told(head) is None


def test_a_head_tells_its_rank_and_how_many_there_are(save_ranks, tmp_path):
    save_ranks(tmp_path, "{}.pt".format, WEIGHTS, (2, 3), dict.fromkeys(WEIGHTS, (None, 0)))
    assert [told((tmp_path / f"{rank}.pt").read_bytes()) for rank in range(6)] == [Told(rank, 6) for rank in range(6)]


REAL = {"fsdp1": "global_step_20/actor", "fsdp2": "fsdp2", "hsdp": "hsdp", "tp": "tp", "accelerate": "accelerate"}
RENAMED = ("pytorch_model_fsdp_rank_{}.bin", "model_rank{}.pt", "ckpt-r{:05d}.pth", "step_7_shard_{}.pt")


@pytest.mark.parametrize("kind", REAL)
@pytest.mark.parametrize("pattern", RENAMED)
def test_what_torch_saved_on_four_ranks_is_the_same_under_any_name(made, tmp_path, kind, pattern):
    saves = made("ranks_save.py", 4)
    pairs = [(saves / REAL[kind] / f"model_world_size_4_rank_{rank}.pt", rank) for rank in range(4)]
    if kind == "accelerate":
        pairs = [(saves / kind / f"pytorch_model_fsdp_0_rank{rank}.bin", rank) for rank in range(4)]
    for path, rank in pairs:
        (tmp_path / pattern.format(rank)).write_bytes(path.read_bytes())
    expected = torch.load(saves / f"{kind}.full.pt", weights_only=True)["model"]
    assert_equal(ckpt_core.load(str(tmp_path)).to_torch("model"), expected)
    assert codes(tmp_path) == set()
    (tmp_path / pattern.format(3)).unlink()
    assert "RK001" in codes(tmp_path)


def test_flat_parameters_of_any_name_are_refused_with_the_reason(made, tmp_path):
    for rank in range(4):
        path = made("ranks_save.py", 4) / "local" / f"pytorch_model_fsdp_1_rank{rank}.bin"
        (tmp_path / f"local_{rank}.bin").write_bytes(path.read_bytes())
    with pytest.raises(ckpt_core.UnsupportedFormatError, match="flat parameter of FSDP1") as refused:
        ckpt_core.load(str(tmp_path))
    assert refused.value.code == "RK007"
