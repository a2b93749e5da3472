"""What HuggingFaceStorageWriter wrote is read as torch reads it, and what is missing is refused, not filled in."""

import json
import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import ckpt_core
from ckpt_core import Confidence, CorruptError, DType

MAKER = "dcp_safetensors_save.py"
MIDDLE, LAST = "shard-00002-model-00001-of-00001.safetensors", "shard-00003-model-00001-of-00001.safetensors"


@pytest.fixture(scope="session")
def saved(made):
    return made(MAKER, 3)


@pytest.fixture(scope="session")
def whole(saved):
    return torch.load(saved / "whole.pt", weights_only=True)


def findings(folder, **options):
    report = ckpt_core.verify(str(folder), options=options, format="dcp-safetensors").report
    return {finding.code: finding for finding in reversed(report.findings)}


def stock_consolidation(folder, out, whole):
    from torch.distributed.checkpoint._consolidate_hf_safetensors import consolidate_safetensors_files

    out.mkdir()
    consolidate_safetensors_files(str(folder), str(out), dict.fromkeys(whole, 1))
    return load_file(out / "model-00001-of-00001.safetensors")


def assert_equal(read, expected):
    assert read.keys() == expected.keys()
    for name, tensor in expected.items():
        assert read[name].dtype == tensor.dtype and torch.equal(read[name], tensor), name


@pytest.mark.parametrize("name", ["bare", "indexed", "whole/sharded"])
def test_every_tensor_is_what_was_saved_and_what_torch_reads(saved, whole, name):
    from torch.distributed.checkpoint import HuggingFaceStorageReader, load

    checkpoint = ckpt_core.load(str(saved / name))
    assert checkpoint.match.format == "dcp-safetensors" and checkpoint.match.confidence is Confidence.CERTAIN
    read = checkpoint.to_torch()
    assert_equal(read, whole)
    stock = {name: torch.zeros_like(tensor) for name, tensor in whole.items()}
    with pytest.warns(UserWarning, match="in a single process"):
        load(stock, storage_reader=HuggingFaceStorageReader(str(saved / name)), no_dist=True)
    assert_equal(read, stock)


@pytest.mark.parametrize("name", ["bare", "indexed", "whole/sharded"])
def test_a_whole_set_has_no_finding_above_information(saved, name):
    report = ckpt_core.verify(str(saved / name)).report
    assert report.worst is ckpt_core.Severity.INFO and report.checked_tensors == 5


def test_the_joined_files_are_read_as_a_model_and_the_shards_beside_them_by_name(saved, whole):
    assert ckpt_core.load(str(saved / "whole")).match.format == "hf"
    assert_equal(ckpt_core.load(f"{saved / 'whole'}#sharded").to_torch(), whole)
    assert_equal(ckpt_core.load(str(saved / "whole"), format="dcp-safetensors").to_torch(), whole)
    assert ckpt_core.load(str(saved / "rank0")).match.format == "hf"


def test_shards_that_were_never_joined_are_opened_from_above(saved, whole, tmp_path):
    shutil.copytree(saved / "whole" / "sharded", tmp_path / "step-40" / "sharded")
    checkpoint = ckpt_core.load(str(tmp_path / "step-40"))
    assert_equal(checkpoint.to_torch(), whole)
    files = ckpt_core.list_files(str(tmp_path))
    (member,) = ckpt_core.get_plugin_manager().hooks.detect_format(files=files).members
    assert (member.format, member.root, member.step) == ("dcp-safetensors", "step-40", 40)


def test_a_missing_middle_shard_is_refused_where_torch_fills_in_zeros(saved, whole, tmp_path):
    folder = shutil.copytree(saved / "bare", tmp_path / "bare")
    (folder / MIDDLE).unlink()
    stock = stock_consolidation(folder, tmp_path / "stock", {n: t for n, t in whole.items() if n != "norm.weight"})
    assert not stock["embed.weight"][5:10].any() and whole["embed.weight"][5:10].all()
    found = findings(folder)
    assert found["CV005"].tensor == "embed.weight" and found["CV005"].message.endswith("stored nowhere: [5:10, 0:4]")
    assert found["DC052"].path == MIDDLE and "embed.weight, layer.weight are not whole" in found["DC052"].message
    with pytest.raises(CorruptError, match=r"embed\.weight"):
        ckpt_core.load(str(folder)).to_torch()
    from ckpt_core.verbs.convert import convert

    with pytest.raises(CorruptError, match=r"shard-00002.*missing"):
        convert(str(folder), str(tmp_path / "out.safetensors"))
    assert not (tmp_path / "out.safetensors").exists()


def test_a_missing_last_shard_is_refused_where_torch_cuts_the_tensors_off(saved, whole, tmp_path):
    folder = shutil.copytree(saved / "bare", tmp_path / "bare")
    (folder / LAST).unlink()
    stock = stock_consolidation(folder, tmp_path / "stock", {n: t for n, t in whole.items() if n != "scale"})
    assert stock["embed.weight"].shape == (10, 4)
    found = findings(folder, world_size=3)
    assert found["DC052"].path == LAST
    assert "embed.weight may go on behind index 10 of dimension 0" in found["DC052"].message


def test_a_missing_last_shard_is_a_hole_where_a_joined_file_says_how_far_tensors_go(saved, tmp_path):
    folder = shutil.copytree(saved / "whole", tmp_path / "whole")
    (folder / "sharded" / LAST).unlink()
    found = findings(folder)
    assert found["CV005"].message == "embed.weight: 12 of 52 elements are stored nowhere: [10:13, 0:4]"
    assert found["DC055"].tensor == "scale" and not found.keys() & {"DC053"}


def test_without_a_proof_it_is_said_that_shards_at_the_end_cannot_be_missed(saved, tmp_path):
    folder = shutil.copytree(saved / "bare", tmp_path / "bare")
    (folder / LAST).unlink()
    found = findings(folder)
    assert found.keys() == {"DC053"}
    assert found["DC053"].severity is ckpt_core.Severity.WARNING and found["DC053"].tensor == "embed.weight"
    assert "options={'world_size': 2}" in found["DC053"].hint
    assert not findings(folder, world_size=2), "two ranks could have written just this"


def test_a_file_number_that_no_rank_has_is_missing(saved, tmp_path):
    folder = shutil.copytree(saved / "indexed", tmp_path / "indexed")
    for path in folder.glob("*-model-00002-*"):
        path.unlink()
    found = findings(folder)
    assert "of file 2 of 2 no rank has a shard" in found["DC052"].message


def test_a_shortened_shard_is_named(saved, tmp_path):
    folder = shutil.copytree(saved / "bare", tmp_path / "bare")
    (folder / MIDDLE).write_bytes((folder / MIDDLE).read_bytes()[:-8])
    with pytest.raises(CorruptError, match="shard-00002"):
        ckpt_core.load(str(folder))
    assert findings(folder)["ST007"].path == MIDDLE


def write_shard(folder, rank, tensors, *, info=None):
    """A shard of boxes by name: (offsets, tensor). `info` in place of what torch writes about them."""
    folder.mkdir(exist_ok=True)
    saved = {name: {"saved_offsets": list(offsets)} for name, (offsets, _) in tensors.items()}
    text = json.dumps(saved) if info is None else info
    metadata = {"DCP_SHARDING_INFO": text, "DCP_VERSION": "1.0", "format": "pt"}
    path = folder / f"shard-{rank:05d}-model-00001-of-00001.safetensors"
    save_file({name: tensor.contiguous() for name, (_, tensor) in tensors.items()}, path, metadata=metadata)


@pytest.mark.parametrize(
    ("info", "says"),
    [
        ("{}", "no saved_offsets"),
        ("[]", "not a JSON object"),
        ('{"w": {"saved_offsets": [0]}, "w": {"saved_offsets": [2]}}', "twice"),
        ('{"w": {"saved_offsets": [0, 0]}}', "2 saved_offsets for 1 dimensions"),
        ('{"w": {"saved_offsets": [-1]}}', "no saved_offsets"),
        ('{"w": {"saved_offsets": [true]}}', "no saved_offsets"),
        ('{"w": [0]}', "no saved_offsets"),
    ],
)
def test_offsets_that_make_no_sense_are_refused(tmp_path, info, says):
    write_shard(tmp_path / "x", 1, {"w": ((0,), torch.ones(2))}, info=info)
    with pytest.raises(CorruptError, match=says) as caught:
        ckpt_core.load(str(tmp_path / "x"))
    assert caught.value.code == "DC050"


@pytest.mark.parametrize("other", [torch.ones(2).half(), torch.ones(2, 1)])
def test_shards_that_contradict_each_other_are_refused(tmp_path, other):
    write_shard(tmp_path / "x", 1, {"w": ((0,), torch.ones(2))})
    write_shard(tmp_path / "x", 2, {"w": ((2,) + (0,) * (other.ndim - 1), other)})
    with pytest.raises(CorruptError, match=r"shard-00002.*tensor w") as caught:
        ckpt_core.load(str(tmp_path / "x"))
    assert caught.value.code == "DC051"


def test_joined_files_of_another_save_are_told(tmp_path):
    write_shard(tmp_path / "x", 1, {"w": ((0,), torch.ones(2))})
    write_shard(tmp_path / "x", 2, {"w": ((2,), torch.ones(1))})
    save_file({"w": torch.ones(2)}, tmp_path / "x" / "model-00001-of-00001.safetensors")
    found = findings(tmp_path / "x")
    assert found["DC054"].tensor == "w" and "of two saves" in found["DC054"].message


def test_replicas_are_one_box_and_an_overlap_is_an_error(tmp_path):
    for rank in (1, 2):
        write_shard(tmp_path / "x", rank, {"w": ((0,), torch.ones(2))})
        write_shard(tmp_path / "y", rank, {"w": ((rank - 1,), torch.ones(2))})
    assert torch.equal(ckpt_core.load(str(tmp_path / "x")).to_torch()["w"], torch.ones(2))
    assert findings(tmp_path / "y")["CV004"].tensor == "w"


def test_asking_for_the_format_where_there_is_none_is_said(tmp_path):
    (tmp_path / "note.txt").write_text("…")
    with pytest.raises(ckpt_core.UnsupportedFormatError, match="no shard-"):
        ckpt_core.load(str(tmp_path), format="dcp-safetensors")


def cut(rows, ranks):
    """What DTensor gives each rank of a dimension: start and size, as torch computes them."""
    from torch.distributed.tensor import Shard

    return [Shard.local_shard_size_and_offset(rows, ranks, rank)[::-1] for rank in range(ranks)]


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4), ranks=st.integers(1, 8), data=st.data())
def test_the_number_of_ranks_is_told_rightly_or_not_at_all(sizes, ranks, data):
    from ckpt_fsdp.hf_shards.boxes import Sharded, StoredBox
    from ckpt_fsdp.hf_shards.extent import number_of_ranks, unproved

    tensors = {}
    for index, rows in enumerate(sizes):
        boxes = [StoredBox((start,), (size,), "", 0, rank + 1) for rank, (start, size) in enumerate(cut(rows, ranks))]
        empty = [box for box in boxes if not box.sizes[0]]
        kept = [box for box in boxes if box.sizes[0]] + ([data.draw(st.sampled_from(empty))] if empty else [])
        tensors[str(index)] = Sharded(DType.F32, (rows,), kept)
    assert number_of_ranks(tensors) in (None, ranks)
    if ranks > 1:
        lost = data.draw(st.integers(1, ranks))
        remaining = {n: [box for box in t.boxes if box.rank < lost] for n, t in tensors.items()}
        for name, boxes in remaining.items():
            if boxes and sum(box.sizes[0] for box in boxes) < tensors[name].shape[0]:
                reach = max(box.offsets[0] + box.sizes[0] for box in boxes)
                assert unproved({name: Sharded(DType.F32, (reach,), boxes)}) == [name]
