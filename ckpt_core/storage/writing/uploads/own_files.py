"""The files of one rank on their way into a store.

They are begun by rank 0 with all others, put and completed part by part.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from ckpt_core.schema.plans import FilePlan, TensorBytes, TensorKey, Written
from ckpt_core.storage.ranks.ranks import Ranks
from ckpt_core.storage.writing.jobs import Job
from ckpt_core.storage.writing.uploads.parts import FileParts
from ckpt_core.storage.writing.uploads.sink import UploadedFiles


class OwnUploads(UploadedFiles):
    """The uploads of a plan whose files have one writing rank each.

    Args as for `UploadedFiles`; `own_paths` are the paths of this rank's files.
    """

    own_paths: frozenset[str] = frozenset()
    among: Ranks

    @contextmanager
    def opened(self, ranks: Ranks) -> Iterator[None]:
        """Begin the uploads at rank 0, and let the others know them.

        Once all have put theirs, complete them.
        """
        with super().opened(self.among):
            self.finished(())
            yield
            self._gather()
            self.among.exchange(None)
            self._complete_uploads()
            self.among.exchange(None)

    def finished(self, jobs: Sequence[Job]) -> dict[TensorKey, Written]:
        self._parts = {path: self._all_of(file) for path, file in self._files.items()}
        return {}

    def write_past_cache(self, path: str, data: memoryview, offset: int) -> None:
        self.write(path, data, offset)

    def open_directly(self, path: str) -> None:
        """Nothing: a store has no page cache."""

    def sync(self) -> None:
        """Nothing: what a store has taken lasts."""

    def _all_of(self, file: FilePlan) -> FileParts:
        mine = file.path in self.own_paths
        bare = FilePlan(file.path, (TensorBytes("", "", file.size),))  # every byte is given, known ones too
        return FileParts(
            bare, self._part_bytes(file.path), partial(self._put, file.path), there=(), mine=lambda _: mine
        )
