import os

import numpy as np
import pytest

from ckpt_core import knobs
from ckpt_core.codecs.live import checkpoint_of
from ckpt_core.errors import CorruptError
from ckpt_core.schema.plans import FilePlan, LateBytes, Literal, TensorBytes, WritePlan
from ckpt_core.storage.execution import execute


@pytest.fixture
def weights():
    return {"a": np.arange(1000, dtype="f4"), "b": np.arange(1000, 2000, dtype="f4")}


def tensor(name):
    return TensorBytes("model", name, 4000)


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("slab", [4, 1000, 1 << 20])
def test_sections_lie_end_to_end_whoever_writes_them(weights, tmp_path, workers, slab):
    plan = WritePlan(
        (
            FilePlan("x/y/1", (Literal(b"head"), tensor("b"), LateBytes(4, lambda crcs: b"late"), tensor("a"))),
            FilePlan("2", (Literal(b""),)),
        )
    )
    with knobs.override(workers=workers, slab_bytes=slab):
        written = execute(plan, checkpoint_of(weights), str(tmp_path))
    expected = b"head" + weights["b"].tobytes() + b"late" + weights["a"].tobytes()
    assert (tmp_path / "x" / "y" / "1").read_bytes() == expected
    assert (tmp_path / "2").read_bytes() == b""
    assert set(written) == {("model", "a"), ("model", "b")}
    assert plan.files[0].size == len(expected)


def test_late_bytes_know_the_checksums_of_their_file(weights, tmp_path):
    from zlib import crc32

    seen = {}

    def make(crcs):
        seen.update(crcs)
        return b""

    plan = WritePlan((FilePlan("f", (tensor("a"), LateBytes(0, make)), checksums=True),))
    execute(plan, checkpoint_of(weights), str(tmp_path))
    assert seen == {("model", "a"): crc32(weights["a"].tobytes())}


def test_a_tensor_of_another_length_than_planned_is_refused(weights, tmp_path):
    plan = WritePlan((FilePlan("f", (TensorBytes("model", "a", 4004),)),))
    with pytest.raises(CorruptError, match="gave 4000 bytes, 4004 were planned"):
        execute(plan, checkpoint_of(weights), str(tmp_path))


def test_a_tensor_at_two_places_is_refused_before_anything_is_written(weights, tmp_path):
    plan = WritePlan((FilePlan("f", (tensor("a"),)), FilePlan("g", (tensor("a"),))))
    with pytest.raises(ValueError, match="planned twice"):
        execute(plan, checkpoint_of(weights), str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_late_bytes_of_another_length_than_planned_are_refused(weights, tmp_path):
    plan = WritePlan((FilePlan("f", (LateBytes(3, lambda crcs: b"four"),)),))
    with pytest.raises(ValueError, match="4 late bytes, 3 were planned"):
        execute(plan, checkpoint_of(weights), str(tmp_path))


def test_memory_stays_at_a_few_slabs_whatever_the_tensor_has(tmp_path):
    import tracemalloc

    big = {"a": np.zeros(8 << 20, "f4")}
    plan = WritePlan((FilePlan("f", (TensorBytes("model", "a", 32 << 20),)),))
    checkpoint = checkpoint_of(big)
    tracemalloc.start()
    try:
        with knobs.override(workers=1):
            execute(plan, checkpoint, str(tmp_path))
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
