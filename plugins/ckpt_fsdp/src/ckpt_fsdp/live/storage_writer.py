"""A writer for torch's own distributed saves.

It serves `torch.distributed.checkpoint.save` and `async_save`, to any place that ckpt writes to.

Torch's planner says who writes what, and torch's collectives carry what ranks say: the ticket of rank 0's stage with
the plans, what each has written with its results. So a save has no process group of its own.
"""

import os
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple
from uuid import uuid4

from torch.distributed.checkpoint import Metadata, SavePlan, SavePlanner, StorageWriter
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from ckpt_core import SaveReport, UnsupportedFormatError, UsageError, argument, printable
from ckpt_core.codecs import without_collection
from ckpt_core.training import Receipt, StagedSave, write_share
from ckpt_fsdp.dcp.detection import METADATA
from ckpt_fsdp.live.written_items import Placed, metadata_file, metadata_of, path_of, prove, share_of

_begun: "weakref.WeakValueDictionary[str, CkptStorageWriter]" = weakref.WeakValueDictionary()
"""Of each place the last save that this process leads. Torch tells nobody of one that failed elsewhere."""


class _Order(NamedTuple):
    """A rank's place among the writers, with the stage's ticket.

    The token is the save's.
    """

    rank: int
    ticket: Any
    token: str


class _Told(NamedTuple):
    """An item of a save, as its rank tells.

    By the token of the save; with the first comes its file.
    """

    token: str
    placed: Placed
    receipt: Receipt | None


class CkptStorageWriter(StorageWriter):  # type: ignore[misc]
    """Lets `dcp.save` write sealed checkpoints, whole or not at all.

    On a disk all ranks write into one stage, which rank 0 names; in a store the seal comes last. What is there is never
    replaced. The directory is one of DCP, which stock `dcp.load` opens.

    What a save that failed has left is removed with the next save to the place or of the same writer, by `close`, or at
    the end of the process. A writer has one save at a time: another one that is begun meanwhile is refused, or, before
    the first has written, takes its place.

    Args:
        ref: A path on a filesystem that all ranks share, or the URL of a store. `checkpoint_id` of `dcp.save` counts
            where it is given.
        provenance: Plain values to record in the seal.
        storage_options: For the clients of stores, by their own names; None for what their configuration says.

    Attributes:
        report: Of the last save, at rank 0; None before, and at the others.

    Raises:
        CkptError: From `dcp.save`, in torch's CheckpointException: something is there, or it could not be written.
    """

    def __init__(
        self,
        ref: "str | os.PathLike[str]",
        *,
        provenance: Mapping[str, Any] | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.report: SaveReport | None = None
        self._ref = ref
        self._provenance = provenance
        self._options = storage_options
        self._save: StagedSave | None = None
        self._end: Any = None
        self._tokens: set[str] = set()
        self._busy = False

    def __getstate__(self) -> dict[str, Any]:
        """Return the state that torch's writing process is given."""
        if os.fspath(self._ref).startswith("memory://"):
            raise UnsupportedFormatError(
                f"{self._place}: would be in the memory of another process; write with "
                "AsyncCheckpointerType.THREAD, or to a disk or a store"
            )
        return {**self.__dict__, "_save": None, "_end": None, "_busy": False}

    @property
    def checkpoint_id(self) -> "str | os.PathLike[str]":
        """Return the place that is written to."""
        return self._ref

    def reset(self, checkpoint_id: "str | os.PathLike[str] | None" = None) -> None:
        """Take another place where one is given.

        A save that is under way stays: torch calls this at each rank by itself, and an error at one would leave the
        others waiting. `set_up_storage_writer`, whose error all ranks are told, refuses.
        """
        if not self._busy:
            self.close()
        self._ref = self._ref if checkpoint_id is None else checkpoint_id

    def close(self) -> None:
        """Remove what a save that failed has left."""
        end, self._save, self._end = self._end, None, None
        if end is not None:
            end()

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Begin a save.

        Raises:
            UsageError: Another save of this writer is under way, or it is to be without collectives: each rank would
                make a checkpoint of its own.
        """
        if self._busy:
            raise UsageError(
                f"{self._place}: another save with this writer is under way; wait for it, or give each save a writer "
                "of its own"
            )
        self.close()
        self.report = None
        if not kwargs.get("use_collectives", True):
            raise UsageError(
                f"{argument('use_collectives', False)}: each rank would write a part that nobody proves to be one "
                "checkpoint with the others; leave it out"
            )

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """Stage the place, at rank 0, and give each rank its ticket."""
        if not all(plan.usable for plan in plans):
            raise UsageError(
                f"{argument('enable_plan_caching', True)}: a plan of an earlier save names an earlier stage; give a "
                "planner without it"
            )
        self._supersede()
        writing = [rank for rank, plan in enumerate(plans) if plan.items]
        paths = [*map(path_of, writing), METADATA]
        save = StagedSave(self._ref, format="dcp", paths=paths, world=len(plans), options=self._options)
        token = uuid4().hex
        self._save, self._end, self._tokens = save, weakref.finalize(self, save.close), {token} if writing else set()
        return [replace(plan, storage_data=_Order(rank, save.ticket, token)) for rank, plan in enumerate(plans)]

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> "Future[list[WriteResult]]":
        """Write a rank's items, in one pass that digests them.

        Where it fails the stage stays as it is: other ranks are writing there still.

        Raises:
            UnsupportedFormatError: A value is not plain.
            CkptError: It could not be written.
        """
        order: _Order = plan.storage_data
        with self._working():
            share = share_of(plan, planner, order.rank)
            receipt = write_share(order.ticket, share.files, share.tensors, rank=order.rank, options=self._options)
        results = [
            WriteResult(item.index, placed.item.length, _Told(order.token, placed, None if number else receipt))
            for number, (item, placed) in enumerate(share.items)
        ]
        done: Future[list[WriteResult]] = Future()
        done.set_result(results)
        return done

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Prove, seal and name the files of all ranks.

        Raises:
            CorruptError: What is there is not what was written; nothing was committed.
            OverwriteError: Another writer was first.
            UsageError: Another save was begun meanwhile, with this writer or to the same place; nothing was committed.
            CkptError: It could not be written or named.
        """
        told: list[_Told] = [result.storage_data for rank in results for result in rank]
        save = self._save
        if save is None or {one.token for one in told} != self._tokens:
            raise UsageError(
                f"{self._place}: another save with this writer, or of this process to the same place, was begun "
                "meanwhile; nothing was committed; save again, one at a time"
            )
        placed = [one.placed for one in told]
        receipts = [one.receipt for one in told if one.receipt is not None]
        with self._working():
            try:
                self.report = save.commit(
                    metadata_file(metadata_of(metadata, placed)),
                    receipts,
                    lambda staged: dict(prove(staged, metadata, placed, receipts)),
                    provenance=self._provenance,
                )
            finally:
                self._ended(save)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: "str | os.PathLike[str]") -> bool:
        """Return True: whether it can be written, opening tells."""
        return True

    @property
    def _place(self) -> str:
        return printable(os.fspath(self._ref))

    def _supersede(self) -> None:
        """End an earlier save to the place that came to nothing."""
        key = os.fspath(self._ref)
        earlier = _begun.get(key)
        if earlier is not None and not earlier._busy:
            earlier.close()
        _begun[key] = self

    def _ended(self, save: StagedSave) -> None:
        """End a save; one that was begun after it goes on."""
        if self._save is save:
            self.close()
        else:
            save.close()

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Be busy for a block."""
        self._busy = True
        try:
            with without_collection():
                yield
        finally:
            self._busy = False
