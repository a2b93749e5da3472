"""Metadata read by records of thousands: the same as torch reads, and the same as opcode by opcode."""

import subprocess
import sys
from pathlib import Path

import pytest
from ckpt_fsdp.dcp import metadata, records
from ckpt_fsdp.dcp.nesting import nest, paths_of
from ckpt_fsdp.dcp.tables import DcpTable
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributed.checkpoint import FileSystemReader

import ckpt_core
from ckpt_core import Depth

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A directory of 8 ranks and 300 tensors, made as the benchmarks make those of 64 and 20,000."""
    folder = tmp_path_factory.mktemp("large") / "step-7"
    command = [sys.executable, "-m", "benchmarks.dcp_directory", str(folder), "8", "300"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)
    return folder


def chunks_by_torch(folder):
    """Of each tensor its boxes, each with the range that torch would read."""
    data = FileSystemReader(folder).read_metadata()
    places = {
        (index.fqn, tuple(index.offset)): info for index, info in data.storage_data.items() if index.offset is not None
    }
    return {
        name: [
            (tuple(chunk.offsets), tuple(chunk.sizes), info.relative_path, info.offset, info.length)
            for chunk in described.chunks
            for info in [places[name, tuple(chunk.offsets)]]
        ]
        for name, described in data.state_dict_metadata.items()
        if hasattr(described, "chunks")
    }


def chunks_of(found):
    table = DcpTable("").of(found.tensors, {})
    return {
        name: [(c.offsets, c.sizes, c.stored.path, c.stored.offset, c.stored.length) for c in table[name].chunks]
        for name in table
    }


def test_it_is_what_torch_reads(large):
    found = metadata.parse_metadata((large / ".metadata").read_bytes(), path=".metadata")
    assert chunks_of(found) == chunks_by_torch(large)
    assert found.facts["dcp_version"] == "1.0.0"
    assert found.files == tuple(f"__{rank}_0.distcp" for rank in range(8))


def test_real_metadata_is_what_torch_reads(made):
    folder = made("dcp_save.py", 2)
    for save in ("step-2/fsdp2", "fsdp1", "flattened"):
        found = metadata.parse_metadata((folder / save / ".metadata").read_bytes(), path=".metadata")
        theirs = chunks_by_torch(folder / save)
        assert chunks_of(found) == theirs


def test_records_swallowed_and_opcodes_one_by_one_come_to_the_same(large, monkeypatch):
    data = (large / ".metadata").read_bytes()
    swallowed = metadata.parse_metadata(data, path=".metadata")
    monkeypatch.setattr(records, "_indexes", lambda *_: None)
    alone = metadata.parse_metadata(data, path=".metadata")
    assert chunks_of(swallowed) == chunks_of(alone)
    assert (swallowed.items, swallowed.planner_data, swallowed.files) == (alone.items, alone.planner_data, alone.files)


def test_nearly_all_of_it_is_swallowed(large, monkeypatch):
    """Or a directory of a million chunks would take minutes and gigabytes."""
    taken = []
    swallow = metadata.Machine.swallowed

    def count(machine, start, end, memoized):
        taken.append(end - start)
        swallow(machine, start, end, memoized)

    monkeypatch.setattr(metadata.Machine, "swallowed", count)
    data = (large / ".metadata").read_bytes()
    metadata.parse_metadata(data, path=".metadata")
    assert sum(taken) > 0.85 * len(data)


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 10**9), byte=st.integers(0, 255))
def test_a_changed_byte_never_crashes_it(large, at, byte):
    data = bytearray((large / ".metadata").read_bytes())
    data[at % len(data)] = byte
    try:
        found = metadata.parse_metadata(bytes(data), path=".metadata")
        chunks_of(found)
    except ckpt_core.CkptError:
        pass


def test_a_large_directory_is_inspected_verified_and_planned(large, tmp_path):
    opened = ckpt_core.inspect(str(large))
    assert opened.totals["model"].tensors == 300
    assert opened.place.match.step == 7
    assert ckpt_core.verify(str(large), depth=Depth.LAYOUT).report.ok
    planned = ckpt_core.convert(str(large), str(tmp_path / "x.safetensors"), components=["model"], dry_run=True)
    assert planned.forecast.read == 300 * 8192 * 3200 * 2


@settings(deadline=None)
@given(
    st.dictionaries(
        st.lists(st.text("abc", min_size=1, max_size=2) | st.integers(0, 3), min_size=1, max_size=4).map(tuple),
        st.integers(),
        max_size=8,
    )
)
def test_every_leaf_of_a_tree_is_kept(leaves):
    paths = {".".join(map(str, path)): path for path in leaves}
    values = {name: leaves[path] for name, path in paths.items()}
    tree = nest(values, paths_of(values, paths)[0])
    assert sorted(flat(tree)) == sorted(values.values())


def flat(tree):
    if isinstance(tree, dict | list):
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from flat(value)
    else:
        yield tree
