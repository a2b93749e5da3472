"""Distributed checkpoints that are damaged, incomplete, hostile or strange: one clear line each, and the right exit."""

import importlib
import pickle
import shutil
import sys
import types
import warnings

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, MetadataIndex

import ckpt_core
from ckpt_core import CkptError, CorruptError, Depth, UnsafeContentError, UnsupportedFormatError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


@pytest.fixture
def place(made, copy_of):
    """Four tensors of five rows and columns, in the files of two ranks."""
    return copy_of(made("dcp_save.py", 2) / "placed")


def edit(place, change):
    """Change the metadata as torch's own classes."""
    path = place / ".metadata"
    data = pickle.loads(path.read_bytes())
    change(data)
    path.write_bytes(pickle.dumps(data))


def verified(place, depth=Depth.LAYOUT):
    return ckpt_core.verify(str(place), depth=depth).report.findings


def every_way(place, tmp_path):
    """Inspect, verify and convert, each raising what it raises."""
    yield lambda: ckpt_core.inspect(str(place))
    yield lambda: ckpt_core.verify(str(place))
    yield lambda: ckpt_core.convert(str(place), str(tmp_path / "out.safetensors"), to="safetensors")


def chunk_of(place, name, index):
    return ckpt_core.load(str(place)).component("model").tensors[name].chunks[index]


def test_a_missing_shard_is_named_with_tensor_and_rows(place, tmp_path):
    (place / "__1_0.distcp").unlink()
    found = {finding.tensor: finding for finding in verified(place)}
    assert set(found) == {"rows", "columns", "everywhere", "one row"} & set(found)
    assert {finding.code for finding in found.values()} == {"CV001"}
    assert "rows[3:5, 0:5]" in found["rows"].message
    assert "columns[0:5, 3:5]" in found["columns"].message
    with pytest.raises(CorruptError, match=r"__1_0.distcp: tensor .*\[") as error:
        ckpt_core.convert(str(place), str(tmp_path / "out.safetensors"), to="safetensors")
    assert error.value.exit_code == 4
    assert not (tmp_path / "out.safetensors").exists()


def test_a_shortened_shard_is_named_with_tensor_and_rows(place, tmp_path):
    shard = place / "__1_0.distcp"
    last = max(
        (chunk.stored.end, name, chunk.offsets, chunk.sizes)
        for name, entry in ckpt_core.load(str(place)).component("model").tensors.items()
        for chunk in entry.chunks
        if chunk.stored.path == shard.name
    )
    with open(shard, "r+b") as file:
        file.truncate(last[0] - 1)
    (finding,) = verified(place)
    assert (finding.code, finding.tensor, finding.path) == ("CV002", last[1], shard.name)
    with pytest.raises(CorruptError, match="truncated"):
        ckpt_core.convert(str(place), str(tmp_path / "out.safetensors"), to="safetensors")


def test_a_part_that_the_metadata_lacks_is_a_hole_of_which_stock_loading_says_nothing(place, tmp_path):
    def forget(data):
        last = data.state_dict_metadata["rows"].chunks.pop()
        del data.storage_data[MetadataIndex("rows", last.offsets)]

    edit(place, forget)
    (finding,) = verified(place)
    assert (finding.code, finding.tensor) == ("CV005", "rows")
    assert "[3:5, 0:5]" in finding.message
    with pytest.raises(CorruptError, match=r"rows: 10 of 25 elements are stored nowhere: \[3:5, 0:5\]"):
        ckpt_core.convert(str(place), str(tmp_path / "out.safetensors"), to="safetensors")
    state = {"rows": torch.full((5, 5), -7.0)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.load(state, checkpoint_id=str(place), no_dist=True)
    assert (state["rows"][3:] == -7).all(), "stock loading leaves what was in memory, and says nothing"
    assert (state["rows"][:3] != -7).all()


def test_a_part_without_an_item_is_a_hole(place):
    edit(place, lambda data: data.storage_data.pop(MetadataIndex("columns", torch.Size((0, 3)))))
    (finding,) = verified(place)
    assert (finding.code, finding.tensor) == ("CV005", "columns")


def test_overlapping_parts_are_refused(place):
    def overlap(data):
        data.state_dict_metadata["rows"].size = torch.Size((4, 5))
        data.state_dict_metadata["columns"].chunks[0].sizes = torch.Size((5, 4))

    edit(place, overlap)
    assert {(finding.code, finding.tensor) for finding in verified(place)} == {("CV003", "rows"), ("CV004", "columns")}


def test_wrong_offsets_are_found_without_a_read_of_the_tensor_and_named(place):
    def shift(data):
        for index, info in data.storage_data.items():
            if index.fqn == "rows" and info.relative_path == "__1_0.distcp":
                info.offset += 64
                info.length -= 64

    edit(place, shift)
    for depth in (Depth.LAYOUT, Depth.BYTES):
        assert "rows" in {finding.tensor for finding in verified(place, depth)}
    with pytest.raises(CorruptError, match=r"^rows: __1_0.distcp"):
        ckpt_core.load(str(place)).read("model", "rows")


def test_an_item_of_another_type_or_shape_is_refused(place):
    def exchange(data):
        data.state_dict_metadata["rows"].properties.dtype = torch.int32
        data.state_dict_metadata["columns"].size = torch.Size((3, 7))
        data.state_dict_metadata["columns"].chunks[:] = data.state_dict_metadata["columns"].chunks[:1]
        data.state_dict_metadata["columns"].chunks[0].sizes = torch.Size((3, 7))

    edit(place, exchange)
    for name in ("rows", "columns"):
        with pytest.raises(CorruptError, match=rf"^{name}: __\d_0.distcp: the item at byte \d+ holds F32"):
            ckpt_core.load(str(place)).read("model", name)


def test_every_flipped_bit_of_an_item_is_named_by_tensor_and_file(place):
    """But for those of two version numbers at the end of the archive, which nobody reads."""
    chunk = chunk_of(place, "rows", 1)
    shard = place / chunk.stored.path
    whole = shard.read_bytes()
    missed = 0
    for at in range(chunk.stored.offset, chunk.stored.end, 13):
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        shard.write_bytes(damaged)
        found = [(finding.tensor, finding.path) for finding in verified(place, Depth.BYTES) if finding.severity == 2]
        missed += ("rows", shard.name) not in found
    assert missed <= 1


@pytest.mark.parametrize("left", ["nothing", "unfinished"])
def test_a_lost_dot_file_is_recognised_and_named(place, tmp_path, left):
    if left == "nothing":
        (place / ".metadata").unlink()
    else:
        (place / ".metadata").rename(place / ".metadata.tmp")
    (match,) = ckpt_core.get_plugin_manager().hooks.detect_format(files=ckpt_core.list_files(str(place))).matches
    assert (match.format, match.evidence) == ("dcp", "2 .distcp files without .metadata")
    with pytest.raises(CorruptError, match="dot-file" if left == "nothing" else "did not end") as error:
        ckpt_core.load(str(place))
    assert (error.value.code, error.value.exit_code) == ("DC001", 4)
    (finding,) = [finding for finding in verified(place) if finding.severity == 2]
    assert finding.code == "DC001"


def test_what_lies_beside_the_metadata_is_noticed(place):
    shutil.copy(place / "__1_0.distcp", place / "__2_0.distcp")
    shutil.copy(place / ".metadata", place / "__0.metadata")
    (place / ".metadata.tmp").write_bytes(b"")
    assert {finding.code for finding in verified(place)} == {"DC007", "DC008", "DC011"}


def test_metadata_that_names_nothing_is_an_error(place):
    edit(place, lambda data: (data.state_dict_metadata.clear(), data.storage_data.clear()))
    assert "CK007" in {finding.code for finding in verified(place)}


@pytest.mark.parametrize("keep", [0, 1, 30, 500, -1])
def test_truncated_metadata_is_corrupt(place, keep):
    path = place / ".metadata"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CorruptError) as error:
        ckpt_core.load(str(place))
    assert error.value.path == ".metadata"


@pytest.mark.parametrize(
    "path", ["../other/__0_0.distcp", "/etc/passwd", "s3://bucket/x", "a/../../x", "C:\\x", "", "./x"]
)
def test_a_path_that_leads_away_is_unsafe(place, tmp_path, path):
    def lead_away(data):
        next(iter(data.storage_data.values())).relative_path = path

    edit(place, lead_away)
    for way in every_way(place, tmp_path):
        with pytest.raises(UnsafeContentError) as error:
            way()
        assert (error.value.code, error.value.exit_code) == ("DC003", 7)


def test_transformed_items_are_refused_with_the_transform(place, tmp_path):
    def transform(data):
        next(iter(data.storage_data.values())).transform_descriptors = ["stream.zstd"]

    edit(place, transform)
    for way in every_way(place, tmp_path):
        with pytest.raises(UnsupportedFormatError, match=r"stream\.zstd") as error:
            way()
        assert (error.value.code, error.value.exit_code) == ("DC006", 6)


def test_a_version_or_type_that_is_not_known_is_refused(place, made, copy_of):
    other = copy_of(made("dcp_save.py", 2) / "placed", "other")
    edit(place, lambda data: setattr(data, "version", "2.0.0"))
    edit(other, lambda data: setattr(data.state_dict_metadata["rows"].properties, "dtype", torch.qint8))
    for broken, said in [(place, "2.0.0"), (other, "torch.qint8")]:
        with pytest.raises(UnsupportedFormatError, match=said) as error:
            ckpt_core.load(str(broken))
        assert error.value.code == "DC005"


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return __import__("os").system, (self.command,)


@pytest.mark.parametrize("where", ["alone", "planner_data", "storage_data", "chunks", "item"])
def test_hostile_metadata_does_nothing(place, tmp_path, where):
    mark = tmp_path / "mark"
    evil = Evil(f"touch {mark}")
    if where == "alone":
        (place / ".metadata").write_bytes(pickle.dumps(evil) + b"torch.distributed.checkpoint")
    elif where == "item":
        torch.save(evil, place / "__2_0.distcp")
        length = (place / "__2_0.distcp").stat().st_size
        edit(place, lambda data: add_item(data, "evil", "__2_0.distcp", length))
    else:
        edit(place, lambda data: put(data, where, evil))
    for way in every_way(place, tmp_path):
        with pytest.raises(UnsafeContentError) as error:
            way()
        assert (error.value.code, error.value.exit_code) == ("PK003", 7)
        assert not mark.exists()


def add_item(data, name, path, length):
    info = type(next(iter(data.storage_data.values())))(path, 0, length)
    data.state_dict_metadata[name] = BytesStorageMetadata()
    data.storage_data[MetadataIndex(name)] = info


def put(data, where, value):
    if where == "chunks":
        data.state_dict_metadata["rows"].chunks.append(value)
    else:
        getattr(data, where)["evil" if where == "planner_data" else MetadataIndex("evil")] = value


def test_a_class_that_is_not_known_is_refused_with_its_name(place, tmp_path):
    module = types.ModuleType("somebodys_planner")
    module.Extra = type("Extra", (), {"__module__": "somebodys_planner"})
    sys.modules["somebodys_planner"] = module
    try:
        edit(place, lambda data: data.planner_data.update(extra=module.Extra()))
    finally:
        del sys.modules["somebodys_planner"]
    for way in every_way(place, tmp_path):
        with pytest.raises(UnsupportedFormatError, match=r"somebodys_planner\.Extra") as error:
            way()
        assert (error.value.code, error.value.exit_code) == ("PK006", 6)
    with pytest.raises(ImportError):
        importlib.import_module("somebodys_planner")


def test_a_class_of_torch_in_a_place_that_is_not_its_own_is_refused_with_its_name(place):
    extra = dcp.planner.SavePlan([])
    edit(place, lambda data: data.state_dict_metadata.update(extra=extra))
    with pytest.raises(UnsupportedFormatError, match="SavePlan"):
        ckpt_core.load(str(place))


def test_a_value_that_is_stored_nowhere_is_an_error(made, copy_of):
    place = copy_of(made("dcp_save.py", 2) / "plain")
    edit(place, lambda data: data.storage_data.pop(MetadataIndex("step")))
    (finding,) = verified(place)
    assert finding.code == "DC009"
    assert "step" in finding.message


@pytest.mark.parametrize(
    "path", [("a", 10**12), ("a", 0, 1 << 70), ("a",) * 3000, (), ("a", -1), ("a", 1.5), ("a", ("b",))], ids=range(7)
)
def test_strange_ways_to_keys_do_no_harm(place, path):
    edit(place, lambda data: data.planner_data.update(rows=path))
    try:
        opened = ckpt_core.load(str(place))
    except CkptError:
        return
    assert sum(len(part.tensors) for part in opened.manifest.components) == 4


def test_ranks_that_disagree_on_a_shape_are_refused(made, copy_of):
    place = copy_of(made("dcp_save.py", 2) / "uncoordinated")
    path = place / "__1.metadata"
    data = pickle.loads(path.read_bytes())
    data.state_dict_metadata["rows"].size = torch.Size((9, 5))
    path.write_bytes(pickle.dumps(data))
    with pytest.raises(CorruptError, match="two saves"):
        ckpt_core.load(str(place))


def test_names_alike_are_not_claimed(tmp_path):
    """Megatron and NeMo write metadata.json; other tools keep a `.metadata` of their own."""
    (tmp_path / "metadata.json").write_text('{"sharded_backend": "torch_dist", "sharded_backend_version": 1}')
    (tmp_path / ".metadata").write_text('kMDItemFSName = "x"')
    (tmp_path / "model.bin.metadata").write_bytes(b"x")
    claims = ckpt_core.get_plugin_manager().hooks.detect_format(files=ckpt_core.list_files(str(tmp_path))).matches
    assert "dcp" not in {claim.format for claim in claims}


def test_all_shards_lost_is_still_recognised(place):
    for shard in place.glob("*.distcp"):
        shard.unlink()
    assert {finding.code for finding in verified(place)} == {"CV001"}
