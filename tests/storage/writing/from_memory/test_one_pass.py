"""What lies in memory is written in one pass: the files and digests of a pass that reads back, whatever the sizes."""

import os
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_core import knobs
from ckpt_core.errors import BudgetError, CorruptError
from ckpt_core.layouts.in_memory import checkpoint_of
from ckpt_core.manager.plugin_manager import get_plugin_manager
from ckpt_core.reading.read_back import read_back
from ckpt_core.schema.access import Checkpoint
from ckpt_core.schema.plans import FilePlan, LateBytes, Literal, TensorBytes, WritePlan
from ckpt_core.storage.files.local import list_local
from ckpt_core.storage.sealing import digests_of, read_seal
from ckpt_core.storage.writing import syscalls
from ckpt_core.storage.writing.from_memory import one_pass
from ckpt_core.storage.writing.local_files import LocalFiles
from ckpt_core.verbs.load import load
from ckpt_core.verbs.save import save

MIB = 1 << 20


def bytes_of(place):
    return {path.name: path.read_bytes() for path in place.iterdir()} if place.is_dir() else place.read_bytes()


def slabs_of(state):
    """The same checkpoint without an address: it is written slab by slab and read back."""
    found = checkpoint_of(state)
    found.addresses = lambda: None
    return found


def both(state, folder, format="bundle"):
    one, other = folder / "one", folder / "other"
    first = save(state, str(one), format=format, force=True)
    second = save(slabs_of(state), str(other), format=format, force=True)
    assert (first.nbytes, first.tensors, first.components) == (second.nbytes, second.tensors, second.components)
    return one, other


SIZES = st.one_of(st.integers(0, 50), st.sampled_from([MIB - 1, MIB, MIB + 1, 4 * MIB - 8, 4 * MIB, 5 * MIB + 3]))


@settings(max_examples=8, deadline=None)
@given(sizes=st.lists(SIZES, min_size=1, max_size=6), workers=st.sampled_from([1, 3]), tied=st.booleans())
def test_files_seal_and_digests_are_those_of_a_save_that_reads_back(sizes, workers, tied, tmp_path_factory):
    rng = np.random.default_rng(len(sizes))
    state = {f"t{i}": torch.from_numpy(rng.integers(0, 255, size, dtype=np.uint8)) for i, size in enumerate(sizes)}
    state["half"] = torch.arange(70_000, dtype=torch.float32).bfloat16()
    if tied:
        state["tied"] = state["t0"]
    with knobs.override(workers=workers):
        one, other = both({"model": state, "step": 3}, tmp_path_factory.mktemp("run"))
    assert bytes_of(one) == bytes_of(other)
    read = read_back(load(str(one)))
    seal = read_seal(load(str(one)).files)
    assert (read.by_component(), read.files) == (seal.tensors, seal.files)


def test_large_files_go_past_the_page_cache_and_where_that_is_refused_through_it(tmp_path, monkeypatch):
    state = {"model": {"a": torch.randn(3 * MIB + 5), "b": torch.randn(7)}}
    seen = []
    inner = syscalls.write_direct
    monkeypatch.setattr(syscalls, "write_direct", lambda *args: seen.append(args[3]) or inner(*args))
    one, other = both(state, tmp_path)
    assert seen and all(offset % 4096 == 0 for offset in seen)
    assert bytes_of(one) == bytes_of(other)
    whole, plain = bytes_of(one), os.pwrite

    def refused(descriptor, data, offset):
        if len(data) > 2 * MIB and not syscalls_plain(descriptor):
            raise OSError(22, "Invalid argument")
        return plain(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", refused)
    save(state, str(one), format="bundle", force=True)
    monkeypatch.undo()
    assert bytes_of(one) == whole
    monkeypatch.setattr(syscalls, "open_direct", lambda path: None)
    save(state, str(one), format="bundle", force=True)
    assert bytes_of(one) == whole


def syscalls_plain(descriptor):
    import fcntl

    return not fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT


@pytest.mark.parametrize("format", ["hf", "safetensors", "torch"])
def test_other_formats_are_the_same_with_and_without_it(format, tmp_path):
    one, other = both({"a": torch.randn(300, 300), "b": torch.zeros(0, 4), "c": torch.arange(3)}, tmp_path, format)
    assert bytes_of(one) == bytes_of(other)


def test_what_does_not_lie_in_memory_as_it_is_written_is_read_in_slabs():
    whole = torch.randn(4, 6)
    assert checkpoint_of({"a": whole, "b": np.arange(4.0)}).addresses() is not None
    for odd in (whole.t(), whole[:, :2], np.arange(4.0)[::2], np.arange(4, dtype=">f4")):
        assert checkpoint_of({"a": whole, "b": odd}).addresses() is None
    assert Checkpoint.addresses(checkpoint_of({"a": whole})) is None


@pytest.mark.parametrize("workers", [1, 3])
def test_digests_are_taken_of_what_is_wanted_and_checksums_where_a_file_has_them(workers, tmp_path):
    state = checkpoint_of({"a": np.arange(14 * MIB, dtype="u1"), "b": np.arange(70, dtype="u1")})
    a, b = TensorBytes("model", "a", 14 * MIB), TensorBytes("model", "b", 70)
    after_a = LateBytes(4, lambda crcs: crcs[a].to_bytes(4, "little"), of=a)
    after_both = LateBytes(8, lambda crcs: b"".join(crcs[one].to_bytes(4, "little") for one in (a, b)))
    plan = WritePlan((FilePlan("f", (Literal(b"head"), a, after_a, b, after_both), checksums=True),))
    files = LocalFiles(plan, str(tmp_path))
    with knobs.override(workers=workers):
        seen = one_pass.write_files(plan, state, state.addresses(), files, wanted={b.key})
    whole, small = bytes(state.read("model", "a")), bytes(state.read("model", "b"))
    first, second = (zlib.crc32(one).to_bytes(4, "little") for one in (whole, small))
    assert (tmp_path / "f").read_bytes() == b"head" + whole + first + small + first + second
    assert seen.tensors.keys() == {b.key} and seen.files["f"] == digests_of(list_local(str(tmp_path)), "f")


def test_a_tensor_that_changes_meanwhile_never_makes_a_file_that_its_seal_denies(tmp_path, monkeypatch):
    tensor = torch.zeros(3 * MIB)
    inner = one_pass.FileInMemory.fill

    def fill(self, *args):
        inner(self, *args)
        tensor.fill_(1)

    monkeypatch.setattr(one_pass.FileInMemory, "fill", fill)
    save({"a": tensor}, str(tmp_path / "a.safetensors"))
    opened = load(str(tmp_path / "a.safetensors"))
    assert read_back(opened).files == read_seal(opened.files).files


def test_a_plan_that_puts_a_tensor_elsewhere_than_its_reader_looks_is_found_out(tmp_path, monkeypatch):
    import ckpt_core.codecs.safetensors.writer as writer

    inner = writer.plan_safetensors

    def swapped(path, component, names, *, metadata):
        plan = inner(path, component, names, metadata=metadata)
        head, first, second = plan.sections
        return type(plan)(path, (head, second, first))

    monkeypatch.setattr("ckpt_core.builtin.bundle.writing.plan_safetensors", swapped)
    with pytest.raises(CorruptError, match="other content than was read; nothing was committed"):
        save({"a": torch.zeros(4), "b": torch.ones(4)}, str(tmp_path / "out"), format="bundle")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_disk_that_is_full_at_any_write_leaves_nothing(number, tmp_path, monkeypatch):
    inner, left = os.pwrite, [number]

    def pwrite(*args):
        left[0] -= 1
        if not left[0]:
            raise OSError(28, "No space left on device")
        return inner(*args)

    get_plugin_manager()
    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(BudgetError, match="no space left"):
        save({"model": {"a": torch.randn(5 * MIB)}}, str(tmp_path / "out"), format="bundle")
    assert os.listdir(tmp_path) == []
