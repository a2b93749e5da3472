"""A reader for `torch.distributed.checkpoint.load` of whatever ckpt reads.

Its `.metadata` comes from the table of the checkpoint, not from a pickle. A value that is no tensor is read as plain
data, and handed over as a pickle that is made here of it: nothing that lies in the checkpoint is unpickled.
"""

import io
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch.distributed.checkpoint import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    LoadPlan,
    LoadPlanner,
    Metadata,
    StorageReader,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.metadata import TensorProperties
from torch.distributed.checkpoint.planner import LoadItemType
from torch.futures import Future

from ckpt_core import Component, State, StoredCheckpoint, TensorEntry, load, torch_dtype
from ckpt_core.training import torch_state
from ckpt_fsdp.dcp.flattening import Flat
from ckpt_fsdp.live.stored_keys import keys_of


class CkptStorageReader(StorageReader):  # type: ignore[misc]
    """Gives `dcp.load` any format, at any place.

    A directory of DCP has the keys that it was saved with. What is of another format has those that it would be saved
    with: `model.NAME`, `optimizer.state.0.exp_avg`.

    Args:
        ref: As for `ckpt_core.load`, or an open checkpoint.
        component: Label of the one component to be read; its keys are then those below it: `NAME`. None for all.
        format: As for `ckpt_core.load`.
        options: As for `ckpt_core.load`.

    Raises:
        CkptError: From `read_metadata`: it cannot be found, opened or read.
    """

    def __init__(
        self,
        ref: "str | os.PathLike[str] | StoredCheckpoint",
        *,
        component: str | None = None,
        format: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self._ref = ref
        self._component = component
        self._how: dict[str, Any] = {"format": format, "options": options}
        self._opened: tuple[StoredCheckpoint, Flat] | None = None

    def reset(self, checkpoint_id: "str | os.PathLike[str] | None" = None) -> None:
        """Open anew at the next read, another place where one is given."""
        self._ref = self._ref if checkpoint_id is None else checkpoint_id
        self._opened = None

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """Return the checkpoint's table as torch's metadata."""
        _, flat = self._open()
        table: dict[str, Any] = {key: _described(part.tensors[name]) for key, (part, name) in flat.tensors.items()}
        table.update((key, BytesStorageMetadata()) for key in flat.values)
        return Metadata(table, planner_data=dict(flat.paths), storage_data={})

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Keep nothing of the metadata: the open checkpoint has it all."""

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> "Future[None]":
        """Read what a plan asks for, straight into the tensors.

        Raises:
            CkptError: A read failed, or bytes do not match a checksum.
        """
        checkpoint, flat = self._open()
        targets = []
        for item in plan.items:
            key = item.storage_index.fqn
            if item.type == LoadItemType.BYTE_IO:
                planner.load_bytes(item, _pickled(checkpoint, *flat.values[key]))
                continue
            part, name = flat.tensors[key]
            first = item.storage_index.offset or (0,) * len(item.storage_offsets)
            box = tuple(map(sum, zip(first, item.storage_offsets, strict=True))), tuple(item.lengths)
            targets.append((item, planner.resolve_tensor(item).detach(), (part.label, name, box)))
        checkpoint.fill_torch([(tensor, *place) for _, tensor, place in targets])
        for item, tensor, _ in targets:
            planner.commit_tensor(item, tensor)
        checkpoint.check_unchanged()
        done: Future[None] = Future()
        done.set_result(None)
        return done

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: "str | os.PathLike[str]") -> bool:
        """Return True: whether it can be read, opening tells."""
        return True

    def _open(self) -> tuple[StoredCheckpoint, Flat]:
        if self._opened is None:
            checkpoint = load(self._ref, **self._how)
            self._opened = checkpoint, keys_of(checkpoint, self._component)
        return self._opened


def _described(entry: TensorEntry) -> TensorStorageMetadata:
    boxes = dict.fromkeys((chunk.offsets, chunk.sizes) for chunk in entry.chunks)
    return TensorStorageMetadata(
        TensorProperties(dtype=torch_dtype(entry.dtype)),
        torch.Size(entry.shape),
        [ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes)) for offsets, sizes in boxes],
    )


def _pickled(checkpoint: StoredCheckpoint, part: Component, value: State) -> io.BytesIO:
    """Return a plain value as the pickle that torch takes."""
    buffer = io.BytesIO()
    torch.save(None if value is None else torch_state(checkpoint, part, value), buffer)
    buffer.seek(0)
    return buffer
