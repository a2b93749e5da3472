"""A destination in a store of objects.

Content is put under names that nobody takes for a checkpoint, and shown by its seal.

A new directory's objects get their final names, and until the seal is there a mark says that it is none yet. What
replaces a directory lies in a generation, and the old objects go after the seal has named it. A single file is staged
whole and copied to its name by the store.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ckpt_core.errors import CkptError, NoAnswerError
from ckpt_core.log import Logger
from ckpt_core.schema.access import Checkpoint, Files, Progress
from ckpt_core.schema.locations import Location, LocationKind
from ckpt_core.schema.manifests import Manifest
from ckpt_core.schema.plans import TensorKey, WritePlan, Written
from ckpt_core.schema.side_files.reserved_names import BLOCKS, JOURNAL
from ckpt_core.schema.side_files.seals import Seal
from ckpt_core.schema.side_files.taint import marked
from ckpt_core.schema.text import redact
from ckpt_core.storage.files.moments import one_moment
from ckpt_core.storage.objects.store import Condition
from ckpt_core.storage.ranks.agreement import agree
from ckpt_core.storage.ranks.pieces import PiecedCheckpoint
from ckpt_core.storage.ranks.ranks import ALONE, Ranks
from ckpt_core.storage.writing.by_ranks.write import write_by_ranks
from ckpt_core.storage.writing.execute import execute
from ckpt_core.storage.writing.plan_digest import digest_of_plan
from ckpt_core.storage.writing.staged_target import StagedTarget
from ckpt_core.storage.writing.uploads.commit import Ready, commit_directory, commit_file
from ckpt_core.storage.writing.uploads.folder import StoreFolder
from ckpt_core.storage.writing.uploads.journal import Noted, begin_journal, forget, note_replaced
from ckpt_core.storage.writing.uploads.own_files import OwnUploads
from ckpt_core.storage.writing.uploads.place import PLACEHOLDER, Found, ObjectPlace
from ckpt_core.storage.writing.uploads.sink import UploadedFiles

if TYPE_CHECKING:
    from ckpt_core.storage.objects.lease import Lease

_log = Logger(__name__)


class ObjectTarget(StagedTarget):
    """A destination in a store.

    Args:
        place: The destination.
        lease: What is held of it; None at another rank than 0.
        found: What was there when the lease was taken; None at another rank.
        resume: Keep the journal where it fails, so that the same work can go on.
        ranks: The processes that write it together.
    """

    def __init__(
        self,
        place: ObjectPlace,
        lease: "Lease | None",
        found: Found | None,
        *,
        format: str,
        options: Mapping[str, Any],
        resume: bool = False,
        ranks: Ranks = ALONE,
    ) -> None:
        self.location = Location(place.url, place.kind)
        self.format = format
        self.options = options
        self.written: dict[TensorKey, Written] = {}
        self.planned: WritePlan | None = None
        self.work = ""
        self._place = place
        self._lease = lease
        self._found = found
        self._resume = resume
        self._ranks = ranks
        self._progress: Progress | None = None
        self._folder = ""
        self._noted: Noted | None = None
        self._begun = dict(found.begun) if found is not None else {}
        self._seal_was = found.seal.version if found is not None and found.seal is not None else None
        self._versions: dict[str, str] = {}
        self._committed = False

    @property
    def staged(self) -> str:
        url = self._place.url_of(self._folder).rstrip("/")
        return f"{url}/{self.name}" if self._place.kind is LocationKind.FILE else url

    def listing(self) -> Files:
        if "://" in self.staged:
            from ckpt_core.storage.files.remote import list_remote

            return list_remote(self.staged, unfinished=True)
        from ckpt_core.storage.files.local import list_local

        return list_local(self.staged, unfinished=True)

    def watch(self, progress: Progress) -> None:
        self._progress = progress

    def write(self, plan: WritePlan, checkpoint: Checkpoint) -> Manifest:
        if self.location.kind is LocationKind.DIRECTORY:
            plan = marked(plan, checkpoint)
        pieced = isinstance(checkpoint, PiecedCheckpoint)
        digest = "" if pieced else digest_of_plan(plan, checkpoint)
        known = self._resume and bool(checkpoint.identity())
        self.work = digest if known else ""
        if not pieced:  # of which any rank but the first plans its own files alone
            agree(self._ranks, digest, self.location)
        paths = [file.path for file in plan.files]
        resumed = self._begin(digest if known else "", paths) if self._ranks.leads else False
        self._folder = self._ranks.from_leader(self._folder)
        if isinstance(checkpoint, PiecedCheckpoint):
            return self._write_pieces(plan, checkpoint)
        files = UploadedFiles(
            plan,
            self._place.store,
            self._folder,
            noted=self._noted,
            resumed=resumed,
            check=self._check,
            told=self._note_uploads,
        )
        with one_moment(checkpoint):
            self.written = execute(plan, checkpoint, files, progress=self._progress, ranks=self._ranks)
            checkpoint.finish()
        self._versions = files.versions
        self.planned = plan
        return checkpoint.manifest

    def _write_pieces(self, plan: WritePlan, checkpoint: PiecedCheckpoint) -> Manifest:
        files = OwnUploads(
            plan,
            self._place.store,
            self._folder,
            noted=self._noted,
            resumed=False,
            check=self._check,
            told=self._note_uploads,
        )

        def own_files(own: WritePlan) -> OwnUploads:
            files.among, files.own_paths = self._ranks, frozenset(file.path for file in own.files)
            return files

        self.written, self.digested = write_by_ranks(
            plan, checkpoint, own_files, format=self.format, ranks=self._ranks, progress=self._progress
        )
        self._versions = files.versions
        self.planned = plan
        return checkpoint.manifest

    def begin(self, work: str, paths: Sequence[str]) -> StoreFolder:
        """Begin the folder for files that no plan writes.

        It is as far as an earlier run of the same work came.

        Args:
            work: Digest of what is done; "" where it cannot be told again.
            paths: The files, as they will be named.
        """
        self._begin(work, paths)
        assert self._noted is not None
        return StoreFolder(self._place.store, self._folder, self._noted, self._check, self._note_uploads)

    def was_put(self, versions: Mapping[str, str]) -> None:
        """All of them are there: the version of each object, by path."""
        self._versions = dict(versions)

    def commit(self, seal: Seal | None) -> None:
        if self._ranks.leads:
            self._commit(seal)
        self._ranks.exchange(None)

    def drop(self, *, entirely: bool = False) -> None:
        if self._lease is None or self._committed:
            return
        self._lease.leaves = True
        if self._resume and self._noted is not None and not entirely:
            return
        try:
            self._lease.check()  # what another writer goes on with is not ours to remove
            if self._noted is not None:
                forget(self._place.store, self._folder, self._noted)
                self._noted = None
            self._remove_placeholder()
            self._lease.leaves = bool(self._begun)
        except CkptError as error:
            _log.warning("%s: left behind (%s); ckpt clean lists it", self.location, error)

    def _check(self) -> None:
        self._ranks.check()
        if self._lease is not None:
            self._lease.check()

    def _begin(self, work: str, paths: Sequence[str]) -> bool:
        """Go on with what was begun of the same work, or begin.

        Returns whether it is the first.
        """
        assert self._lease is not None
        place = self._place
        for folder, noted in self._begun.items():
            if work and noted.work == work and self._fits(folder):
                self._folder, self._noted = folder, noted
        self._sweep()
        going_on = self._noted is not None
        if not going_on:
            self._folder = place.root if self._is_new else f"{place.folders}{uuid.uuid4().hex[:12]}/"
        whole = place.kind is LocationKind.DIRECTORY and self._is_new
        keys = [*(self._folder + path for path in (*paths, BLOCKS, JOURNAL)), place.seal]
        self._lease.note_keys(keys if whole else [self._folder])
        if self._noted is None:
            self._noted = begin_journal(place.store, self._folder, work, paths)
        return going_on

    @property
    def _is_new(self) -> bool:
        """Return whether a directory is made where there is none."""
        return self._place.kind is LocationKind.DIRECTORY and not (self._found and self._found.content)

    def _fits(self, folder: str) -> bool:
        return (folder == self._place.root) is self._is_new

    def _sweep(self) -> None:
        """Remove what other runs had begun and nobody goes on with.

        A generation stays: whoever began it may be about to name it, and is told from us by the seal alone. It goes
        when our own seal is there.
        """
        for folder, noted in list(self._begun.items()):
            if folder == self._folder or (self._place.kind is LocationKind.DIRECTORY and folder != self._place.root):
                continue
            if folder == self._place.root and self._seal_was is None:
                made = self._place.store.put(self._place.seal, PLACEHOLDER, Condition(absent=True))
                self._seal_was = made.version
            forget(self._place.store, folder, noted)
            del self._begun[folder]

    def _remove_placeholder(self) -> None:
        if self._seal_was is not None and self._found is not None and not self._found.sealed:
            self._place.store.delete_version(self._place.seal, self._seal_was)

    def _note_uploads(self, uploads: Mapping[str, str]) -> None:
        """Name uploads in the lease before their first part is put."""
        assert self._lease is not None
        self._lease.note_uploads((self._folder + path, id) for path, id in uploads.items())

    def _commit(self, seal: Seal | None) -> None:
        assert self._lease is not None and self._found is not None and self._noted is not None
        ready = Ready(self._place, self._folder, self._versions, self._found, self._seal_was, self._lease.check)
        if self._place.kind is LocationKind.FILE:
            commit_file(ready, seal)
        else:
            if not self._is_new and seal is not None:
                note_replaced(self._place.store, self._folder, self._replaced)
            commit_directory(ready, seal)
        self._committed = True
        if self._place.kind is LocationKind.DIRECTORY and not self._is_new:
            self._remove_replaced()
        try:
            self._tidy()
        except CkptError as error:
            _log.warning("%s: is written; left behind (%s), ckpt clean lists it", self.location, error)

    def _tidy(self) -> None:
        """Remove what the commit has left over.

        The old content, the stage, the journal.
        """
        assert self._found is not None and self._noted is not None
        place, store = self._place, self._place.store
        for folder, noted in self._begun.items():
            if folder != self._folder:
                forget(store, folder, noted)
        if place.kind is LocationKind.FILE:
            forget(store, self._folder, self._noted)
            return
        store.delete([one.key for one in store.find(self._folder + JOURNAL)])

    @property
    def _replaced(self) -> dict[str, str]:
        """Key and version of every object that gives way to a generation."""
        assert self._found is not None
        return {one.key: one.version for one in self._found.content if one.key != self._place.seal}

    def _remove_replaced(self) -> None:
        """Remove the old content.

        A tool that knows no seal is to fail, and not to read what was replaced.

        Raises:
            NoAnswerError: It is not all removed. The journal that names it stays, by which `clean` finds it.
        """
        store, old = self._place.store, self._replaced
        try:
            store.delete([one.key for one in store.find(self._place.root) if old.get(one.key) == one.version])
        except CkptError as error:
            raise NoAnswerError(
                f"{self.location}: is written and sealed, and what it replaces is still there ({error}), where tools "
                f"other than ckpt read it: remove it with ckpt clean {redact(self.location.url)}"
            ) from error
