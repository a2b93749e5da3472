"""A run in a store of objects.

It says what counts as a checkpoint there, and who may write.
"""

from contextlib import ExitStack

from ckpt_core.arguments import argument
from ckpt_core.errors import UnsupportedFormatError
from ckpt_core.log import Logger
from ckpt_core.schema.side_files.reserved_names import DIRECTORY_SEAL
from ckpt_core.schema.side_files.seals import PLACEHOLDER
from ckpt_core.schema.text import redact
from ckpt_core.storage.objects.lease import held
from ckpt_core.storage.objects.open_store import open_store
from ckpt_core.storage.urls import scheme_of
from ckpt_core.storage.writing.publishing.publisher import is_published
from ckpt_core.training.run import CHECKPOINT, Run

_log = Logger(__name__)

_LEASE = ".run.ckpt-lease"
_REMOVED = ".ckpt-removed"
"""Ends the name of an object that says that a checkpoint is being removed."""


class RunStore(Run):
    """A run in a store.

    A checkpoint is there once its seal is, which is put last, and none once its seal is gone.
    """

    proved_by_save = True

    def __init__(self, url: str) -> None:
        super().__init__()
        scheme_of(url)
        if is_published(url):
            raise UnsupportedFormatError(
                f"{redact(url)}: what is there is published by versions; train in a local folder, "
                f"and give this as {argument('upload_to')}"
            )
        self.path = url.rstrip("/")
        self._store, self._key = open_store(self.path)
        self._held = ExitStack()
        self._open = False

    def open(self) -> None:
        if self._open:
            return
        self._held.enter_context(held(self._store, self._below(_LEASE), place=redact(self.path)))
        self._open = True
        self._tidy()

    def close(self) -> None:
        self._held.close()
        self._open = False

    def steps(self) -> list[int]:
        found = []
        for one in self._store.find(self._below("checkpoint-")):
            name, _, path = one.key.removeprefix(self._below("")).partition("/")
            checkpoint = CHECKPOINT.fullmatch(name)
            if checkpoint is not None and path == DIRECTORY_SEAL and one.size > len(PLACEHOLDER):
                found.append(int(checkpoint[1]))
        return sorted(found)

    def is_there(self, step: int) -> bool:
        seal = self._store.head(self._below(f"checkpoint-{step}/{DIRECTORY_SEAL}"))
        return seal is not None and seal.size > len(PLACEHOLDER)

    def remove(self, step: int) -> None:
        name = f"checkpoint-{step}"
        seal = self._store.head(self._below(f"{name}/{DIRECTORY_SEAL}"))
        self._store.put(self._below(f".{name}{_REMOVED}"), b"" if seal is None else seal.version.encode())
        self.known.discard(step)
        self._remove(name)
        _log.info("removed %s", redact(self.place(step)))

    def put_aside(self, step: int) -> None:
        raise UnsupportedFormatError(
            f"{redact(self.path)}: nothing can be put aside in a store; keep without recoverable, or by its versions"
        )

    def committed_at(self, step: int) -> float:
        seal = self._store.head(self._below(f"checkpoint-{step}/{DIRECTORY_SEAL}"))
        return 0.0 if seal is None else seal.modified

    def _remove(self, name: str) -> None:
        """Remove a checkpoint whose removal is marked.

        The seal goes first, the mark last.
        """
        self._store.delete([self._below(f"{name}/{DIRECTORY_SEAL}")])
        self._store.delete([one.key for one in self._store.find(self._below(f"{name}/"))])
        self._store.delete([self._below(f".{name}{_REMOVED}")])

    def _tidy(self) -> None:
        """End the removals that a process that was killed had begun."""
        for one in list(self._store.find(self._below(".checkpoint-"))):
            name = one.key.removeprefix(self._below(".")).removesuffix(_REMOVED)
            if not one.key.endswith(_REMOVED) or not CHECKPOINT.fullmatch(name):
                continue
            seal = self._store.head(self._below(f"{name}/{DIRECTORY_SEAL}"))
            if seal is not None and seal.version.encode() != self._store.read(one.key):
                self._store.delete([one.key])  # another checkpoint has the name since
            else:
                self._remove(name)

    def _below(self, name: str) -> str:
        return f"{self._key}/{name}" if self._key else name
