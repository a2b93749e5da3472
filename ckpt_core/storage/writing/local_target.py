"""A staged place on a disk: written under a lock, named whole."""

import os
from collections.abc import Mapping
from typing import Any

from ckpt_core.schema.access import Checkpoint, Files, Progress
from ckpt_core.schema.locations import Location, LocationKind
from ckpt_core.schema.manifests import Manifest
from ckpt_core.schema.plans import TensorKey, WritePlan, Written
from ckpt_core.schema.side_files.reserved_names import BLOCKS, DIRECTORY_SEAL, FILE_SUFFIX
from ckpt_core.schema.side_files.seals import FileSeal, Seal, pack
from ckpt_core.schema.side_files.taint import marked
from ckpt_core.storage.files.moments import one_moment
from ckpt_core.storage.ranks.agreement import agree
from ckpt_core.storage.ranks.pieces import PiecedCheckpoint
from ckpt_core.storage.ranks.ranks import ALONE, Ranks
from ckpt_core.storage.writing import syscalls
from ckpt_core.storage.writing.by_ranks.write import write_by_ranks
from ckpt_core.storage.writing.commit import finish, name_directory, name_file
from ckpt_core.storage.writing.execute import execute
from ckpt_core.storage.writing.from_memory.one_pass import fits, write_files
from ckpt_core.storage.writing.journal import begin, belongs, forget
from ckpt_core.storage.writing.local_files import LocalFiles
from ckpt_core.storage.writing.plan_digest import digest_of_plan
from ckpt_core.storage.writing.staged_target import StagedTarget
from ckpt_core.storage.writing.staging import Stage


class LocalTarget(StagedTarget):
    """A destination on this machine, staged beside it."""

    def __init__(
        self,
        location: Location,
        stage: Stage,
        *,
        format: str,
        options: Mapping[str, Any],
        replace: bool = False,
        resume: bool = False,
        ranks: Ranks = ALONE,
    ) -> None:
        self.location = location
        self.format = format
        self.options = options
        self.written: dict[TensorKey, Written] = {}
        self.planned: WritePlan | None = None
        self.digested: Mapping[str, FileSeal] | None = None
        self.work = ""
        self._stage = stage
        self._replace = replace
        self._resume = resume
        self._ranks = ranks
        self._named = self._proves_stage = False
        self._progress: Progress | None = None

    @property
    def staged(self) -> str:
        return (
            os.path.join(self._stage.data, self._stage.name)
            if self.location.kind is LocationKind.FILE
            else self._stage.data
        )

    def listing(self) -> Files:
        from ckpt_core.storage.files.local import list_local

        return list_local(self.staged)

    def watch(self, progress: Progress) -> None:
        self._progress = progress

    def write(self, plan: WritePlan, checkpoint: Checkpoint) -> Manifest:
        if self.location.kind is LocationKind.DIRECTORY:
            plan = marked(plan, checkpoint)
        if isinstance(checkpoint, PiecedCheckpoint):
            return self._write_pieces(plan, checkpoint)
        digest = digest_of_plan(plan, checkpoint) if self._resume or self._ranks.world > 1 else ""
        self.work = digest if self._resume and checkpoint.identity() else ""
        agree(self._ranks, digest, self.location)
        if self._resume and self._ranks.leads:
            self._begin_or_go_on(digest, known=bool(checkpoint.identity()))
        journal = self._stage.journal if self._resume else None
        files = LocalFiles(plan, self._stage.data, journal=journal)
        addresses = checkpoint.addresses() if journal is None and self._ranks.world == 1 and fits(plan) else None
        with one_moment(checkpoint):
            if addresses is not None:
                self.written, self.digested = write_files(plan, checkpoint, addresses, files, progress=self._progress)
            else:
                self.written = execute(plan, checkpoint, files, progress=self._progress, ranks=self._ranks)
            checkpoint.finish()
        self.planned = plan
        return checkpoint.manifest

    def _write_pieces(self, plan: WritePlan, checkpoint: PiecedCheckpoint) -> Manifest:
        self.written, self.digested = write_by_ranks(
            plan,
            checkpoint,
            lambda own: LocalFiles(own, self._stage.data),
            format=self.format,
            ranks=self._ranks,
            progress=self._progress,
        )
        self.planned = plan
        return checkpoint.manifest

    def go_on(self, work: str) -> tuple[str, str]:
        """Return the folder and the journal of work with this digest.

        It is as far as it came; it is an empty one where the digest is "".
        """
        self._begin_or_go_on(work, known=bool(work))
        self._proves_stage = True
        return self._stage.data, self._stage.journal

    def commit(self, seal: Seal | None) -> None:
        """Write the seal, if any, and name what is staged.

        Of several ranks the first does, and the others wait.
        """
        if self._ranks.leads:
            self._commit(seal)
        self._ranks.exchange(None)

    def _commit(self, seal: Seal | None) -> None:
        one_file = self.location.kind is LocationKind.FILE
        if seal is not None:
            self._write_seal(seal, one_file)
        # What has its name is no stage to go on with: killed after the rename, the next run begins anew. Who compares
        # what is staged with the journal finds that out, and keeps it up to the rename.
        if not self._proves_stage:
            syscalls.remove(self._stage.journal)
        name = name_file if one_file else name_directory
        name(self._stage, replace=self._replace)
        self._named = True
        finish(self._stage, seal=one_file and seal is not None)

    def _write_seal(self, seal: Seal, one_file: bool) -> None:
        text, blocks = pack(seal, apart=not one_file)
        if one_file:
            _write_anew(self.staged + FILE_SUFFIX, text)
            return
        _write_anew(os.path.join(self._stage.data, BLOCKS), blocks)
        _write_anew(os.path.join(self._stage.data, DIRECTORY_SEAL), text)

    def drop(self, *, entirely: bool = False) -> None:
        if self._ranks.leads and not self._named and (entirely or not os.path.lexists(self._stage.journal)):
            self._stage.clear()

    def _begin_or_go_on(self, digest: str, *, known: bool) -> None:
        """Go on with a stage of the same work.

        Empties one of another, or of a source that cannot be told again.
        """
        if known and belongs(self._stage.journal, digest):
            return
        forget(self._stage.journal)
        syscalls.sync_directory(self._stage.root)
        syscalls.remove_tree(self._stage.data)
        syscalls.make_directory(self._stage.data)
        begin(self._stage.journal, digest)


def _write_anew(path: str, data: bytes) -> None:
    syscalls.remove(path)
    syscalls.write_file(path, data)
