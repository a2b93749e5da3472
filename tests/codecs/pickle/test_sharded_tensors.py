"""Tensors spread over ranks, as torch itself saves them on every rank of a group that only pretends to communicate."""

import contextlib
import io
import sys
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ckpt_core
from ckpt_core.codecs.torch.reader import read_torch_file


@contextlib.contextmanager
def rank_of(rank, world):
    """This process as one rank of several; nothing is sent anywhere."""
    import torch.distributed as dist
    from torch.testing._internal.distributed.fake_pg import FakeStore

    hook = sys.excepthook
    dist.init_process_group("fake", rank=rank, world_size=world, store=FakeStore())
    try:
        yield
    finally:
        dist.destroy_process_group()
        sys.excepthook = hook


def save_ranks(folder, mesh_shape, make):
    """One file a rank, of what `make(mesh)` gives there; the paths by rank."""
    from torch.distributed.device_mesh import init_device_mesh

    paths = []
    for rank in range(prod(mesh_shape)):
        with rank_of(rank, prod(mesh_shape)):
            names = tuple(f"axis{number}" for number in range(len(mesh_shape)))
            mesh = init_device_mesh("cpu", mesh_shape, mesh_dim_names=names)
            torch.save(make(mesh), folder / f"rank{rank}.pt")
        paths.append(folder / f"rank{rank}.pt")
    return paths


def opened(path):
    return read_torch_file(ckpt_core.list_files(str(path)), path.name)


def stored(path, chunk):
    """The elements of a chunk of float32, read with no more than what the table says."""
    raw = path.read_bytes()[chunk.stored.offset : chunk.stored.end]
    flat = torch.frombuffer(bytearray(raw), dtype=torch.float32)
    return flat.view(chunk.sizes) if chunk.strides is None else flat.as_strided(chunk.sizes, chunk.strides)


def assembled(paths, name, shape):
    """A tensor put together of every rank's chunks; each element counts how often it was there."""
    whole, times = torch.zeros(shape), torch.zeros(shape)
    for path in paths:
        entry = opened(path).tensors[name]
        assert entry.shape == shape
        for chunk in entry.chunks:
            box = tuple(slice(o, o + n) for o, n in zip(chunk.offsets, chunk.sizes, strict=True))
            whole[box] = stored(path, chunk)
            times[box] += 1
    return whole, times


def placements_of(text):
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor.placement_types import _StridedShard

    names = {"R": Replicate, "S": Shard, "X": lambda dim, factor: _StridedShard(dim, split_factor=factor)}
    return [names[kind](*arguments) for kind, *arguments in text]


placement = st.one_of(
    st.just(("R",)), st.tuples(st.just("S"), st.integers(0, 1)), st.tuples(st.just("X"), st.integers(0, 1), st.just(2))
)


@st.composite
def spreads(draw):
    mesh = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=2)))
    placements = [draw(placement) for _ in mesh]
    return mesh, placements, tuple(draw(st.lists(st.integers(0, 9), min_size=2, max_size=2)))


@settings(max_examples=25, deadline=None)
@given(spreads())
def test_chunks_are_where_torch_puts_the_parts_of_a_tensor(tmp_path_factory, spread):
    mesh_shape, placements, shape = spread
    from torch.distributed.tensor import distribute_tensor

    whole = torch.arange(prod(shape), dtype=torch.float32).reshape(shape)
    paths = save_ranks(
        tmp_path_factory.mktemp("ranks"),
        mesh_shape,
        lambda mesh: {"w": distribute_tensor(whole, mesh, placements_of(placements), src_data_rank=None)},
    )
    found, times = assembled(paths, "w", shape)
    assert torch.equal(found, whole)
    replicas = prod(size for size, (kind, *_) in zip(mesh_shape, placements, strict=True) if kind == "R")
    assert torch.equal(times, torch.full(shape, float(replicas)))


def test_a_part_of_a_tensor_does_not_pass_for_the_whole(tmp_path):
    from torch.distributed.tensor import Shard, distribute_tensor

    paths = save_ranks(
        tmp_path,
        (4,),
        lambda mesh: {
            "w": distribute_tensor(torch.arange(10.0), mesh, [Shard(0)], src_data_rank=None),
            "b": torch.ones(2),
        },
    )
    file = opened(paths[1])
    assert file.tensors["w"].shape == (10,)
    assert [(chunk.offsets, chunk.sizes) for chunk in file.tensors["w"].chunks] == [((3,), (3,))]
    assert [(finding.code, finding.tensor) for finding in file.findings] == [("TF009", "w")]
    assert "the part that rank 1 of 4 has" in file.findings[0].message
    report = ckpt_core.verify(str(paths[1])).report
    assert {finding.code for finding in report.findings} == {"TF009", "CV005"}
    assert not report.ok


def test_how_a_tensor_is_spread_is_said(tmp_path):
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    paths = save_ranks(
        tmp_path,
        (2, 2),
        lambda mesh: {"w": distribute_tensor(torch.zeros(4), mesh, [Replicate(), Shard(0)], src_data_rank=None)},
    )
    sharding = opened(paths[3]).sharded["w"]
    assert (sharding.kind, sharding.mesh, sharding.coordinate, sharding.rank) == ("DTensor", (2, 2), (1, 1), 3)
    assert sharding.placements == ("Replicate()", "Shard(dim=0)")
    assert not sharding.complete


def test_a_tensor_that_every_rank_has_whole_needs_no_word(tmp_path):
    from torch.distributed.tensor import Replicate, distribute_tensor

    (path, _) = save_ranks(
        tmp_path, (2,), lambda mesh: {"w": distribute_tensor(torch.arange(6.0), mesh, [Replicate()])}
    )
    assert opened(path).findings == ()
    checkpoint = ckpt_core.load(str(path))
    assert torch.equal(checkpoint.to_torch()["w"], torch.arange(6.0))


def test_a_sum_that_is_not_made_yet_is_kept_opaque(tmp_path):
    from torch.distributed.tensor import DTensor, Partial

    paths = save_ranks(
        tmp_path, (2,), lambda mesh: {"w": DTensor.from_local(torch.ones(3), mesh, [Partial()], run_check=False)}
    )
    file = opened(paths[0])
    assert list(file.tensors) == []
    assert file.root == {"w": ckpt_core.Opaque("torch.distributed.tensor.DTensor")}
    assert [finding.code for finding in file.findings] == ["TF010"]
    assert "Partial(reduce_op=sum)" in file.findings[0].message


def test_a_local_part_of_another_shape_than_its_placements_leave_is_not_placed(tmp_path):
    from torch.distributed.tensor import DTensor, Shard

    def make(mesh):
        spread = {"run_check": False, "shape": torch.Size([9]), "stride": (1,)}
        return {"w": DTensor.from_local(torch.ones(3), mesh, [Shard(0)], **spread)}

    file = opened(save_ranks(tmp_path, (2,), make)[0])
    assert [finding.code for finding in file.findings] == ["TF010"]
    assert "shape (3,), and its placements leave (5,)" in file.findings[0].message


def test_parameters_and_tied_ones_are_read_as_tensors(tmp_path):
    from torch.distributed.tensor import Shard, distribute_tensor

    def make(mesh):
        weight = torch.nn.Parameter(distribute_tensor(torch.arange(8.0), mesh, [Shard(0)], src_data_rank=None))
        return {"embed": weight, "head": weight}

    file = opened(save_ranks(tmp_path, (2,), make)[1])
    assert file.tensors["embed"].alias_of is None
    assert file.tensors["head"].alias_of == "embed"


def sharded_tensor(rank, world, shape):
    """A ShardedTensor of rows, as FSDP1 saves it; the real class, made without communication."""
    from torch.distributed._shard.sharded_tensor import Shard, ShardedTensor
    from torch.distributed._shard.sharded_tensor.metadata import ShardedTensorMetadata, TensorProperties
    from torch.distributed._shard.sharding_spec import ShardMetadata

    rows = -(-shape[0] // world)
    boxes = [
        ShardMetadata([r * rows, 0], [min(rows, shape[0] - r * rows), shape[1]], f"rank:{r}/cpu") for r in range(world)
    ]
    whole = torch.arange(prod(shape), dtype=torch.float32).reshape(shape)
    mine = boxes[rank]
    local = whole[rank * rows : rank * rows + mine.shard_sizes[0]].clone()
    metadata = ShardedTensorMetadata(boxes, torch.Size(shape), TensorProperties(dtype=torch.float32))
    return ShardedTensor._init_from_local_shards_and_global_metadata([Shard(local, mine)], metadata)


@pytest.mark.filterwarnings("ignore:Please use DTensor instead:FutureWarning")
def test_sharded_tensors_are_read_by_their_own_offsets(tmp_path):
    paths = []
    for rank in range(3):
        with rank_of(rank, 3):
            torch.save({"w": sharded_tensor(rank, 3, (7, 2))}, tmp_path / f"rank{rank}.pt")
        paths.append(tmp_path / f"rank{rank}.pt")
    found, times = assembled(paths, "w", (7, 2))
    assert torch.equal(found, torch.arange(14.0).reshape(7, 2))
    assert torch.equal(times, torch.ones(7, 2))
    sharding = opened(paths[2]).sharded["w"]
    assert (sharding.kind, sharding.mesh, sharding.rank) == ("ShardedTensor", (3,), 2)


def forged(tmp_path, change):
    """A file of a DTensor whose pickle was changed; its archive is sound."""
    import zipfile

    from torch.distributed.tensor import Shard, distribute_tensor

    (path, _) = save_ranks(
        tmp_path,
        (2,),
        lambda mesh: {"w": distribute_tensor(torch.arange(6.0), mesh, [Shard(0)], src_data_rank=None)},
    )
    content = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(content, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, change(data) if name.endswith("/data.pkl") else data)
    path.write_bytes(content.getvalue())
    return path


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"_coordinate_on_dim", b"_coordinate_in_dim"),
        (b"_local_tensor", b"_local_sensor"),
        (b"placements", b"placement_"),
        (b"_layoutq", b"_lazoutq"),
    ],
)
def test_a_description_of_another_shape_is_said_and_kept_opaque(tmp_path, old, new):
    file = opened(forged(tmp_path, lambda data: data.replace(old, new)))
    assert [finding.code for finding in file.findings] == ["TF010"]
    assert list(file.tensors) == []


def old_mesh_state(mesh):
    """A DeviceMesh as torch 2.4 to 2.8 pickle it: its ranks are a tensor."""
    return {
        "device_type": mesh.device_type,
        "mesh": mesh.mesh,
        "mesh_dim_names": mesh.mesh_dim_names,
        "_coordinate_on_dim": list(mesh.get_coordinate()),
        "_thread_id": 1,
    }


def layout_mesh_state(mesh):
    """A DeviceMesh as torch 2.9 pickles it: a layout of sizes and strides, one number where there is one dimension."""
    sizes = tuple(mesh.shape)
    layout = LayoutOfNumbers(sizes if len(sizes) > 1 else sizes[0])
    return {"_layout": layout, "_coordinate_on_dim": tuple(mesh.get_coordinate()), "_rank": mesh.get_rank()}


class LayoutOfNumbers:
    def __init__(self, sizes):
        self.shape = sizes


@pytest.mark.parametrize("state", [old_mesh_state, layout_mesh_state])
@pytest.mark.parametrize("mesh_shape", [(3,), (2, 2)])
def test_meshes_are_read_as_older_torch_describes_them(tmp_path, monkeypatch, state, mesh_shape):
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    monkeypatch.setattr(DeviceMesh, "__getstate__", state, raising=False)
    placements = [Replicate(), Shard(0)][-len(mesh_shape) :]
    whole = torch.arange(7.0)
    paths = save_ranks(
        tmp_path, mesh_shape, lambda mesh: {"w": distribute_tensor(whole, mesh, placements, src_data_rank=None)}
    )
    found, times = assembled(paths, "w", (7,))
    assert torch.equal(found, whole)
    assert torch.equal(times, torch.full((7,), float(len(mesh_shape))))  # one replica more on the second dimension
    assert opened(paths[1]).sharded["w"].mesh == mesh_shape
