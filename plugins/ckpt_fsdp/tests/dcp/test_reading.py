"""What stock torch.distributed.checkpoint saved on 2, 3 and 4 ranks, read without torch: equal to what torch loads."""

import pickle
import subprocess
import sys
import warnings

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict_loader import _load_state_dict_from_keys

import ckpt_core
from ckpt_core import Depth, TensorRef
from ckpt_core.reading.digests import fingerprint

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

SAVES = ["plain", "placed", "step-2/fsdp2", "app", "flat", "flattened", "fsdp1"]


def loaded_by_torch(place):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _load_state_dict_from_keys(checkpoint_id=str(place))


def read(place):
    """Every component as its tree with torch's tensors in it; of one that is nothing but tensors, these by name."""
    opened = ckpt_core.load(str(place))
    result = {}
    for part in opened.manifest.components:
        tensors = opened.to_torch(part.label)
        result[part.label] = tensors if part.state is None else with_tensors(part.state, tensors)
    return result


def with_tensors(state, tensors):
    if isinstance(state, TensorRef):
        return tensors[state.name]
    if isinstance(state, dict):
        return {key: with_tensors(value, tensors) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(with_tensors(value, tensors) for value in state)
    return state


def assert_equal(ours, theirs, where=""):
    if isinstance(theirs, torch.Tensor):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), where
        same = ours.contiguous().reshape(-1).view(torch.uint8), theirs.contiguous().reshape(-1).view(torch.uint8)
        assert torch.equal(*same), where
    elif isinstance(theirs, dict):
        assert set(ours) == set(theirs), where
        for key, value in theirs.items():
            assert_equal(ours[key], value, f"{where}.{key}")
    elif isinstance(theirs, list | tuple):
        assert (type(ours), len(ours)) == (type(theirs), len(theirs)), where
        for index, value in enumerate(theirs):
            assert_equal(ours[index], value, f"{where}.{index}")
    else:
        assert ours == theirs, where


@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.long), pytest.param(4, marks=pytest.mark.long)])
def test_every_save_is_read_as_torch_loads_it(made, ranks):
    folder = made("dcp_save.py", ranks)
    for save in SAVES:
        theirs, ours = loaded_by_torch(folder / save), read(folder / save)
        theirs = theirs.get("app", theirs)
        if save in ("flat", "placed"):
            theirs = {"model": theirs}
        rest = ours.pop("progress", {})
        assert_equal(rest, {key: theirs.pop(key) for key in list(theirs) if key in rest}, save)
        assert_equal({label.partition(":")[2] or label: part for label, part in ours.items()}, theirs, save)


@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.long), pytest.param(4, marks=pytest.mark.long)])
def test_every_save_is_whole_at_every_depth(made, ranks):
    folder = made("dcp_save.py", ranks)
    for save in [*SAVES, "uncoordinated"]:
        for depth in Depth:
            report = ckpt_core.verify(str(folder / save), depth=depth).report
            assert not report.findings, (save, report.findings)


def test_ranks_that_wrote_without_coordination_are_joined(made):
    """Each wrote a metadata of its own, and replicated tensors as often as there are ranks."""
    folder = made("dcp_save.py", 2)
    together, alone = ckpt_core.load(str(folder / "uncoordinated")), ckpt_core.load(str(folder / "placed"))
    assert fingerprint(together, "model").tensors == fingerprint(alone, "model").tensors
    assert len(together.component("model").tensors["everywhere"].chunks) == 2


def test_a_copy_that_differs_is_named_with_both_files(made, copy_of):
    place = copy_of(made("dcp_save.py", 2) / "uncoordinated")
    chunk = ckpt_core.load(str(place)).component("model").tensors["everywhere"].chunks[1]
    content = torch.randn(5, 5, generator=torch.Generator().manual_seed(4))
    with open(place / chunk.stored.path, "r+b") as file:
        file.seek(chunk.stored.offset)
        item = file.read(chunk.stored.length)
        at = item.index(content.numpy().tobytes())
        file.seek(chunk.stored.offset + at)
        file.write((content + 1).numpy().tobytes())
    found = {finding.code: finding for finding in ckpt_core.verify(str(place), depth=Depth.BYTES).report.findings}
    assert found["DC012"].tensor == "everywhere"
    assert "__0_0.distcp and __1_0.distcp" in found["DC012"].message
    assert ckpt_core.verify(str(place)).report.ok


def test_components_are_split_as_those_of_a_torch_file(made):
    opened = ckpt_core.load(str(made("dcp_save.py", 2) / "step-2" / "fsdp2"))
    assert [part.label for part in opened.manifest.components] == ["model", "ema", "optimizer", "progress"]
    assert "hidden.weight" in opened.component("model").tensors
    assert opened.component("progress").state == {"step": 2}
    optimizer = opened.component("optimizer")
    assert optimizer.state["state"]["hidden.weight"]["exp_avg"] == TensorRef("state.hidden.weight.exp_avg")
    assert optimizer.state["param_groups"][0]["lr"] == 1e-2


def test_the_wrapper_of_an_application_is_entered(made):
    folder = made("dcp_save.py", 2)
    wrapped, plain = (ckpt_core.load(str(folder / name)) for name in ("app", "step-2/fsdp2"))
    for one, other in zip(wrapped.manifest.components, plain.manifest.components, strict=True):
        assert (one.label, list(one.tensors), one.state) == (other.label, list(other.tensors), other.state)


def test_a_box_is_read_across_shards(made):
    opened = ckpt_core.load(str(made("dcp_save.py", 2) / "placed"))
    whole = torch.randn(5, 5, generator=torch.Generator().manual_seed(4))
    for name in ("rows", "columns"):
        got = bytes(opened.read("model", name, box=((1, 1), (3, 4))))
        assert got == whole[1:4, 1:5].contiguous().numpy().tobytes()
        assert {chunk.owner for chunk in opened.component("model").tensors[name].chunks} == {0, 1}


def test_the_step_is_taken_from_the_nearest_folder(made):
    folder = made("dcp_save.py", 2)
    found = ckpt_core.inspect(str(folder)).members
    assert {match.root: match.step for match in found if match.format == "dcp"} == {
        "app": None, "flat": None, "flattened": None, "fsdp1": None, "placed": None, "plain": None,
        "step-2/fsdp2": 2, "uncoordinated": None,
    }  # fmt: skip


def test_opening_and_verifying_import_neither_torch_nor_unpickle(made):
    place = made("dcp_save.py", 2) / "step-2" / "fsdp2"
    code = (
        "import sys, pickle, ckpt_core\n"
        "pickle.load = pickle.loads = None\n"
        "ckpt_core.verify(sys.argv[1], depth=ckpt_core.Depth.VALUES)\n"
        "print(sorted({'torch', 'fsspec'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, place], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_opening_reads_no_tensor(made, copy_of):
    place = copy_of(made("dcp_save.py", 2) / "placed")
    for shard in place.glob("*.distcp"):
        shard.write_bytes(bytes(shard.stat().st_size))
    assert len(ckpt_core.load(str(place)).component("model").tensors) == 4


@pytest.mark.parametrize("count", [1, 3])
def test_metadata_of_older_torch_is_read(tmp_path, count):
    """The classes lived elsewhere, and properties were pickled as a dict: written by renaming the modules."""
    dcp.save({f"w{i}": torch.ones(4, 2) for i in range(count)}, checkpoint_id=tmp_path / "new", no_dist=True)
    data = pickle.loads((tmp_path / "new" / ".metadata").read_bytes())
    del data.storage_meta
    stream = pickle.dumps(data, 2)
    old = stream.replace(b"torch.distributed.checkpoint.", b"torch.distributed._shard.checkpoint.")
    (tmp_path / "new" / ".metadata").write_bytes(old)
    opened = ckpt_core.load(str(tmp_path / "new"))
    assert bytes(opened.read("model", "w0")) == torch.ones(4, 2).numpy().tobytes()
