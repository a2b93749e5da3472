"""New memory for tensors."""

import pytest
import torch

from ckpt_core.reading.torch import new_memory

MIB = 1 << 20


def flags_of(tensor):
    """The kernel's flags of the mapping that a tensor lies in: hg for huge pages, nh for none of them any more."""
    found = False
    with open("/proc/self/smaps") as maps:
        for line in maps:
            first = line.split()[0]
            if "-" in first and not first.endswith(":"):
                start, end = (int(part, 16) for part in first.split("-"))
                found = start <= tensor.data_ptr() < end
            elif found and first == "VmFlags:":
                return set(line.split()[1:])
    raise AssertionError("in no mapping")


def test_tensors_have_memory_of_their_own_that_can_be_written():
    kinds = [((3, MIB), torch.float32), ((0,), torch.int64), ((5,), torch.bfloat16), ((4 * MIB + 1,), torch.uint8)]
    tensors = new_memory.empty_tensors(kinds)
    for number, tensor in enumerate(tensors):
        tensor.fill_(number)
    assert [(tuple(tensor.shape), tensor.dtype) for tensor in tensors] == kinds
    assert all(tensor.eq(number).all() for number, tensor in enumerate(tensors))
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == len(kinds)


@pytest.mark.parametrize(("dear", "flag"), [(float("inf"), "hg"), (-1.0, "nh")])
def test_pages_are_huge_until_they_are_dear(monkeypatch, dear, flag):
    monkeypatch.setattr(new_memory, "_DEAR", dear)
    tensors = new_memory.empty_tensors([((12 * MIB,), torch.uint8), ((3 * MIB,), torch.uint8)])
    flags = [flags_of(tensor) for tensor in tensors]
    if not flags[0] & {"hg", "nh"}:
        pytest.skip("a kernel without huge pages")
    assert all(flag in found for found in flags)
