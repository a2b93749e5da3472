"""One rank of many that plan a save, or open for a load, in a process of its own; the other ranks are what they tell.

python -m benchmarks.plan_scale_child save RANK RANKS TENSORS
python -m benchmarks.plan_scale_child torch RANK RANKS TENSORS
python -m benchmarks.plan_scale_child load RANK RANKS TENSORS FOLDER
"""

import gc
import io
import json
import pickle
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from benchmarks.dcp_directory import COLUMNS, ROWS
from ckpt_core import Component, DType, Manifest, TensorRef, WritePlan, load
from ckpt_core.layouts.in_memory import LiveCheckpoint
from ckpt_core.layouts.joined import joined
from ckpt_core.reading.coverage import check_component
from ckpt_core.schema.tensors import ByteRange, Chunk, Encoding, TensorEntry, TensorTable
from ckpt_core.storage.ranks.ranks import Ranks


def _name(number: int) -> str:
    return f"model.layers.{number // 200}.mlp.experts.{number % 200}.up_proj.weight"


class Told(Ranks):
    """This rank of many; what another one tells is what this one does, of the rows that the other has.

    Attributes:
        questions: How often they have met.
        read: Bytes that this rank has been told.
        put: Bytes that this rank has told.
    """

    def __init__(self, rank: int, world: int) -> None:
        self.rank, self.world = rank, world
        self.questions = self.read = self.put = 0

    def exchange(self, value: Any) -> list[Any]:
        return list(self._told(value, range(self.world)))

    def to_leader(self, value: Any) -> list[Any] | None:
        every = list(self._told(value, range(self.world) if self.leads else ()))
        return every if self.leads else None

    def dealt(self, values: Sequence[Any] | None) -> Any:
        self.questions += 1
        if values is None:  # nothing here is held by two
            return {}
        texts = [json.dumps(one) for one in values]
        self.put += sum(map(len, texts))
        return json.loads(texts[self.rank])

    def from_leader(self, value: Any) -> Any:
        return next(self._told(value, [0]))

    def _told(self, value: Any, wanted: Sequence[int]) -> Iterator[Any]:
        self.questions += 1
        text = json.dumps(value)
        self.put += len(text)
        own = f"[[{self.rank * ROWS // self.world}, 0]"
        for other in wanted:
            said = text.replace(own, f"[[{other * ROWS // self.world}, 0]")
            self.read += len(said)
            yield json.loads(said)


def _held(rank: int, ranks: int, tensors: int) -> LiveCheckpoint:
    """What a rank holds: its rows of every tensor, without their bytes."""
    rows = ROWS // ranks
    names = [_name(number) for number in range(tensors)]
    entries = {}
    for name in names:
        stored = ByteRange(f"{name}#0", 0, rows * COLUMNS * 2)
        chunk = Chunk((rank * rows, 0), (rows, COLUMNS), stored, encoding=Encoding("memory"))
        entries[name] = TensorEntry(DType.BF16, (ROWS, COLUMNS), (chunk,))
    state: Any = {name: TensorRef(name) for name in names}
    return LiveCheckpoint([Component("model", TensorTable.of(entries), state)], _Nothing())


class _Nothing(dict[str, Any]):
    def __missing__(self, key: str) -> Any:
        import numpy as np

        return np.empty(0, "u1")


def save(rank: int, ranks: int, tensors: int) -> dict[str, Any]:
    """Join what the ranks hold, and plan the files."""
    from ckpt_fsdp.dcp.writing import write

    live, told = _held(rank, ranks, tensors), Told(rank, ranks)
    clock = _Clock()
    checkpoint = joined(live, told)
    clock.lap("join")
    plans: list[WritePlan] = []
    target: Any = SimpleNamespace(options={}, write=lambda plan, _: plans.append(plan) or Manifest(()))
    write(checkpoint, target)
    clock.lap("plan")
    files = plans[0].files
    found = {"questions": told.questions, "read_bytes": told.read, "put_bytes": told.put, "files": len(files)}
    return {**clock.found(), **found, "metadata_bytes": sum(section.length for section in files[-1].sections)}


def load_here(rank: int, ranks: int, tensors: int, folder: str) -> dict[str, Any]:
    """Open, prove the table, and find the stored boxes of this rank's rows."""
    clock = _Clock()
    checkpoint = load(folder)
    clock.lap("open")
    part = checkpoint.component("model")
    assert not list(check_component(checkpoint.files, part))
    clock.lap("prove")
    rows = ROWS // ranks
    first, last = rank * rows, (rank + 1) * rows
    found = 0
    for name in part.tensors:
        chunks = part.tensors[name].chunks
        found += sum(chunk.offsets[0] < last and chunk.offsets[0] + chunk.sizes[0] > first for chunk in chunks)
    clock.lap("plan")
    return {**clock.found(), "requests": found}


def torch_plans(rank: int, ranks: int, tensors: int) -> dict[str, Any]:
    """What torch's own planner does: this rank's plan, and at rank 0 the plan of all."""
    import torch
    from torch.distributed.checkpoint import DefaultSavePlanner, SavePlan
    from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex, TensorProperties
    from torch.distributed.checkpoint.planner import TensorWriteData, WriteItem, WriteItemType

    size, properties = torch.Size((ROWS, COLUMNS)), TensorProperties(dtype=torch.bfloat16)
    rows = ROWS // ranks

    def local(other: int) -> SavePlan:
        offsets, sizes = torch.Size((other * rows, 0)), torch.Size((rows, COLUMNS))
        items = []
        for name in map(_name, range(tensors)):
            data = TensorWriteData(ChunkStorageMetadata(offsets, sizes), properties, size)
            items.append(WriteItem(MetadataIndex(name, offsets), WriteItemType.SHARD, tensor_data=data))
        return SavePlan(items, planner_data={item.index.fqn: (item.index.fqn,) for item in items})

    clock = _Clock()
    own = _sent(local(rank))
    clock.lap("join")
    planner = DefaultSavePlanner()
    planner.set_up_planner({}, is_coordinator=rank == 0)
    read = len(own)
    if rank == 0:
        plans = [pickle.loads(_sent(local(other))) for other in range(ranks)]
        clock.lap("synthetic")  # made and carried over, as gathering does
        new, metadata = planner.create_global_plan(plans)
        put = sum(len(_sent(one)) for one in new)
        clock.lap("plan")
        return {**clock.found(), "read_bytes": read * ranks, "put_bytes": put, "metadata_bytes": len(_sent(metadata))}
    return {**clock.found(), "read_bytes": read, "put_bytes": read}


def _sent(value: Any) -> bytes:
    stream = io.BytesIO()
    pickle.dump(value, stream)
    return stream.getvalue()


class _Clock:
    """Seconds of the processor by lap, and the greatest resident memory above what there was at the start."""

    def __init__(self) -> None:
        gc.collect()
        gc.disable()
        self._before = _resident()
        self._last = time.process_time()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.process_time()
        self._laps[name], self._last = round(now - self._last, 3), now

    def found(self) -> dict[str, Any]:
        return {**self._laps, "peak_bytes": max(_resident() - self._before, 0)}


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Do one job, and print one line."""
    job, *numbers = sys.argv[1:5]
    sizes = [int(text) for text in numbers]
    done = {"save": save, "torch": torch_plans, "load": load_here}[job](*sizes, *sys.argv[5:])
    print(json.dumps(done))


if __name__ == "__main__":
    main()
