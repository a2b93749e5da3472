"""What is missing, damaged or mixed is named by file, tensor and rows, and never becomes somebody's weights."""

import pickle
import shutil

import pytest

import ckpt_core
from ckpt_core import CorruptError, Depth, UnsafeContentError, UnsupportedFormatError
from ckpt_core.cli.main import main
from ckpt_core.verbs.convert import convert

ON_THREE = ("deepspeed_save.py", 3)


@pytest.fixture
def tag(made, tmp_path):
    """`tag(case, step)`: a copy of a tag directory."""

    def copy(case, step=2):
        source = made(*ON_THREE) / case / "ds" / f"global_step{step}"
        return shutil.copytree(source, tmp_path / f"{case}-{step}" / f"global_step{step}")

    return copy


def optim(folder, rank):
    """The optim_states file of a rank."""
    (path,) = folder.glob(f"*zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
    return path


def findings(folder, depth=Depth.LAYOUT):
    return ckpt_core.verify(str(folder), depth=depth).report.findings


def by_code(folder):
    return {finding.code: finding for finding in findings(folder)}


def refused(folder, tmp_path, code):
    """Whether a conversion ends with a code and leaves nothing behind."""
    with pytest.raises(CorruptError) as caught:
        convert(str(folder), str(tmp_path / "out.safetensors"), components=["model"])
    return caught.value.code == code and not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("rank", [0, 1, 2])
@pytest.mark.parametrize("case", ["stage2-bf16", "stage1-bf16", "stage3-bf16"])
def test_a_missing_rank_is_named_with_the_rows_that_it_had(tag, tmp_path, case, rank):
    folder = tag(case)
    path = optim(folder, rank)
    path.unlink()
    found = findings(folder)
    missing = next(finding for finding in found if finding.code == "ZE003")
    assert missing.path == path.name
    holes = {finding.tensor: finding.message for finding in found if finding.code == "CV005"}
    assert {"embed.weight", "state.embed.weight.exp_avg"} & holes.keys() or case != "stage3-bf16"
    assert any("elements are stored nowhere: " in message for message in holes.values())
    assert refused(folder, tmp_path, "CV005")


def test_the_hole_of_a_missing_middle_rank_is_exact(tag):
    """Partitions of 42 elements: 55 of the embedding, 45 of the convolution, 21 of the mix, and padding."""
    folder = tag("stage2-bf16")
    optim(folder, 1).unlink()
    holes = {finding.tensor: finding.message for finding in findings(folder) if finding.code == "CV005"}
    assert "13 of 55 elements are stored nowhere" in holes["embed.weight"]
    assert "29 of 45 elements are stored nowhere" in holes["conv.weight"]
    assert "mix.weight" not in holes


def test_a_read_of_what_is_there_works_and_of_the_hole_fails(tag):
    folder = tag("stage2-bf16")
    optim(folder, 1).unlink()
    checkpoint = ckpt_core.load(str(folder))
    assert len(checkpoint.read("model", "mix.weight")) == 7 * 3 * 4
    with pytest.raises(CorruptError, match="stored nowhere"):
        checkpoint.read("model", "conv.weight")


def test_without_any_rank_the_masters_are_not_made_up(tag):
    folder = tag("stage2-bf16")
    for rank in range(3):
        optim(folder, rank).unlink()
    with pytest.raises(CorruptError, match="no optim_states file, and they hold the fp32 weights") as caught:
        ckpt_core.load(str(folder))
    assert caught.value.code == "ZE003"


@pytest.mark.parametrize(
    ("case", "name"), [("stage2-bf16", "mp_rank_00"), ("stage3-bf16", "zero_pp_rank_0_mp_rank_00")]
)
def test_without_the_first_model_states_nothing_has_a_name(tag, case, name):
    folder = tag(case)
    (folder / f"{name}_model_states.pt").unlink()
    (finding,) = findings(folder)
    assert (finding.code, finding.path) == ("ZE003", f"{name}_model_states.pt")


def test_a_missing_model_states_of_stage_3_takes_frozen_weights_with_it(tag):
    folder = tag("stage3-bf16")
    (folder / "zero_pp_rank_1_mp_rank_00_model_states.pt").unlink()
    found = findings(folder)
    assert [finding.code for finding in found] == ["CV005", "ZE003"]
    assert found[0].tensor == "frozen.weight"


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_rank_is_an_error_and_its_rows_a_hole(tag, tmp_path, share):
    folder = tag("stage2-bf16")
    path = optim(folder, 1)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    found = findings(folder)
    assert any(finding.path == path.name and finding.code != "CV005" for finding in found)
    assert "conv.weight" in {finding.tensor for finding in found if finding.code == "CV005"}
    with pytest.raises(CorruptError):
        convert(str(folder), str(tmp_path / "out.safetensors"), components=["model"])


def test_a_flipped_bit_is_found_by_the_archive_s_checksum(tag):
    folder = tag("stage2-bf16")
    path = optim(folder, 1)
    checkpoint = ckpt_core.load(str(folder))
    chunk = next(c for c in checkpoint.component("model").tensors["conv.weight"].chunks if c.owner == 1)
    content = bytearray(path.read_bytes())
    content[chunk.stored.offset] ^= 1
    path.write_bytes(content)
    found = {finding.code: finding for finding in findings(folder, Depth.BYTES)}
    assert found["ZP004"].path == path.name


@pytest.mark.parametrize("case", ["stage2-bf16", "stage3-bf16", "stage3-fp32"])
def test_swapped_ranks_are_told_by_the_name_they_were_saved_under(tag, tmp_path, case):
    folder = tag(case)
    first, second = optim(folder, 0), optim(folder, 1)
    first.rename(folder / "kept")
    second.rename(first)
    (folder / "kept").rename(second)
    found = [finding for finding in findings(folder) if finding.code == "ZE006"]
    assert [finding.path for finding in found] == [first.name, second.name]
    assert f"saved as {second.name}" in found[0].message
    assert refused(folder, tmp_path, "CV005")


def test_swapped_ranks_are_told_by_the_parameters_they_say_to_have(tag, tmp_path):
    """Saved anew under each other's names, so that no name tells it."""
    import torch

    folder = tag("stage2-bf16")
    first, second = optim(folder, 0), optim(folder, 1)
    contents = [torch.load(path, weights_only=False) for path in (first, second)]
    for path, content in zip((second, first), contents, strict=True):
        torch.save(content, path)
    assert [finding.code for finding in findings(folder) if finding.code.startswith("ZE")] == ["ZE007"] * 4
    assert refused(folder, tmp_path, "CV005")


@pytest.mark.parametrize("case", ["stage2-bf16", "stage3-bf16"])
def test_ranks_of_two_steps_are_told_by_what_their_optimizers_count(tag, tmp_path, case):
    folder, earlier = tag(case), tag(case, 1)
    shutil.copy(optim(earlier, 1), optim(folder, 1))
    finding = by_code(folder)["ZE008"]
    assert finding.message.endswith("count different steps: rank 0 2, rank 1 1, rank 2 2")
    assert refused(folder, tmp_path, "ZE008")


def test_a_model_of_another_step_is_told_by_the_tag_and_the_optimizer(tag, tmp_path):
    folder, earlier = tag("stage2-bf16"), tag("stage2-bf16", 1)
    shutil.copy(earlier / "mp_rank_00_model_states.pt", folder / "mp_rank_00_model_states.pt")
    assert "it is of step 1, in a directory called global_step2" in by_code(folder)["ZE008"].message
    assert refused(folder, tmp_path, "ZE008")


def test_optimizers_of_another_step_are_a_warning(tag):
    """They may have begun anew; the step alone is no proof."""
    folder, earlier = tag("stage2-bf16"), tag("stage2-bf16", 1)
    for rank in range(3):
        shutil.copy(optim(earlier, rank), optim(folder, rank))
    assert list(by_code(folder)) == ["ZE009"]


def test_a_renamed_tag_is_a_warning(tag):
    folder = tag("stage2-bf16")
    renamed = folder.rename(folder.with_name("global_step7"))
    assert list(by_code(renamed)) == ["ZE009"]


def test_a_rank_of_a_save_by_fewer_ranks_is_no_part_of_this_one(made, tag, tmp_path):
    folder = tag("stage2-bf16")
    smaller = made("deepspeed_save.py", 2, "stage1-bf16", "stage2-bf16", "stage3-fp32") / "stage2-bf16/ds/global_step2"
    shutil.copy(optim(smaller, 1), optim(folder, 1))
    finding = by_code(folder)["ZE004"]
    assert finding.message.endswith("its number of ranks is 2, that of this save 3")
    assert refused(folder, tmp_path, "CV005")


def test_ranks_left_over_from_a_larger_save_are_not_read(made, tag):
    """Rank 2 of three beside a whole save by two ranks: what is left over is said, and the weights are those of two."""
    import torch

    smaller = made("deepspeed_save.py", 2, "stage1-bf16", "stage2-bf16", "stage3-fp32") / "stage2-bf16"
    folder = tag("stage2-bf16")
    for path in (smaller / "ds" / "global_step2").iterdir():
        shutil.copy(path, folder / path.name)
    found = by_code(folder)
    assert list(found) == ["ZE005"]
    assert found["ZE005"].path == optim(folder, 2).name
    masters = torch.load(smaller / "oracle.pt")
    mine = ckpt_core.load(str(folder)).to_torch("model")
    assert all(torch.equal(mine[key].to(tensor.dtype), tensor) for key, tensor in masters.items())


def test_files_of_another_precision_are_left_over(tag):
    folder = tag("stage2-bf16")
    for rank in range(3):
        path = optim(folder, rank)
        shutil.copy(path, folder / path.name.removeprefix("bf16_"))
    assert [finding.code for finding in findings(folder)] == ["ZE005"] * 3


def test_model_states_of_two_stages_are_refused(tag):
    folder, other = tag("stage2-bf16"), tag("stage3-bf16")
    name = "zero_pp_rank_0_mp_rank_00_model_states.pt"
    shutil.copy(other / name, folder / name)
    (finding,) = findings(folder)
    assert (finding.code, finding.path) == ("ZE004", "mp_rank_00_model_states.pt")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("layer_03-model_00-model_states.pt", "pipeline stages"),
        ("zero_pp_rank_0_mp_rank_01_optim_states.pt", "tensor-parallel"),
        ("mp_rank_01_model_states.pt", "tensor-parallel"),
        ("offloaded_tensors/rank0/x.tensor.swp", "offloaded to a disk"),
    ],
)
def test_parallelism_that_is_not_read_is_refused_by_name(tag, name, reason):
    folder = tag("stage2-bf16")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"x")
    with pytest.raises(UnsupportedFormatError, match=reason) as caught:
        ckpt_core.load(str(folder))
    assert caught.value.code == "ZE010"


def test_tensor_parallel_ranks_are_refused_by_the_count_too(tag):
    import torch

    folder = tag("stage2-bf16")
    path = folder / "mp_rank_00_model_states.pt"
    content = torch.load(path, weights_only=False)
    torch.save({**content, "mp_world_size": 2}, path)
    with pytest.raises(UnsupportedFormatError, match="tensor-parallel"):
        ckpt_core.load(str(folder))


class Hostile:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


@pytest.mark.parametrize("name", ["mp_rank_00_model_states.pt", "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"])
def test_a_pickle_that_would_run_is_refused_and_nothing_runs(tag, tmp_path, name, capsys):
    import torch

    folder = tag("stage2-bf16")
    torch.save({"module": Hostile(tmp_path / "ran")}, folder / name)
    for command in (["inspect"], ["verify"], ["verify", "--depth", "values"]):
        assert main([*command, str(folder)]) == 7
    assert main(["convert", str(folder), str(tmp_path / "out.safetensors"), "--component", "model"]) == 7
    assert not (tmp_path / "ran").exists()
    with pytest.raises(UnsafeContentError):
        ckpt_core.load(str(folder))
    capsys.readouterr()


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"module": 1},
        {"module": {}, "param_shapes": 3},
        {"module": {}, "param_shapes": [{"a": 3}]},
        {"module": {}, "param_shapes": [{"a": (1, -1)}]},
        {"module": {}, "param_shapes": [{"a": (1,) * 100_000}]},
        {"module": {}, "param_shapes": [{"a": (1,)}, {"a": (1,)}]},
        {"module": {}, "dp_world_size": "3"},
        {"module": {}, "dp_world_size": 10**12},
        {"module": {}, "frozen_param_shapes": [1]},
        {"module": {}, "shared_params": 7},
        {"module": {}, "ds_config": 7, "param_shapes": [{}]},
    ],
)
def test_model_states_that_hold_something_else_are_an_error(tag, content):
    import torch

    folder = tag("stage2-bf16")
    torch.save(content, folder / "mp_rank_00_model_states.pt")
    with pytest.raises((CorruptError, UnsupportedFormatError)) as caught:
        ckpt_core.load(str(folder))
    assert caught.value.code.startswith("ZE")


def test_optim_states_that_hold_something_else_are_an_error(tag):
    import torch

    wrong = [[], {}, {"optimizer_state_dict": 1}, {"zero_stage": 9}, {"base_optimizer_state": {"state": 1}}]
    wrong += [{"group_paddings": ["x"]}, {"partition_count": -1}, {"param_slice_mappings": [{"a": 1}]}]
    folder = tag("stage2-bf16")
    path = optim(folder, 1)
    sound = torch.load(path, weights_only=False)
    for change in wrong:
        content = change
        if isinstance(change, dict) and change and "optimizer_state_dict" not in change:
            content = {**sound, "optimizer_state_dict": {**sound["optimizer_state_dict"], **change}}
        torch.save(content, path)
        errors = [finding for finding in findings(folder) if finding.severity is ckpt_core.Severity.ERROR]
        assert errors or "base_optimizer_state" in change, change


def test_many_missing_ranks_are_counted_not_listed(tag):
    import torch

    folder = tag("stage2-bf16")
    path = folder / "mp_rank_00_model_states.pt"
    torch.save({**torch.load(path, weights_only=False), "dp_world_size": 1003}, path)
    for rank in range(3):
        content = torch.load(optim(folder, rank), weights_only=False)
        content["optimizer_state_dict"]["partition_count"] = [1003, 1003]
        torch.save(content, optim(folder, rank))
    missing = [finding for finding in findings(folder) if finding.code == "ZE003"]
    assert len(missing) == 8
    assert sum("and so are those of 992 more ranks" in finding.message for finding in missing) == 1


def test_text_under_a_rank_s_name_is_an_error(tag):
    folder = tag("stage2-bf16")
    optim(folder, 2).write_bytes(pickle.dumps({"optimizer_state_dict": {}}))
    assert "TF001" in by_code(folder)
