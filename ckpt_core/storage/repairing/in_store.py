"""Changes of a checkpoint where it lies in a store.

A backup has every byte of what was there.

.ckpt-backup-1/         inside of a directory; of a single object beside it: `.NAME.ckpt-backup-1/`
    old-0, old-1, …     what is to be replaced or removed, copied by the store itself
    steps.json          the steps, put before the first is done: from here on undo works, wherever it stops
    done                all of it was done and verified

Each change is one request, and depends on the content that was looked at: who changed an object meanwhile is not
overwritten. A store cannot rename: what has another name is copied, then deleted. A backup without `steps.json` is of a
repair that had changed nothing yet, or of an undo that had ended: it is swept.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from ckpt_core.errors import CheckpointNotFoundError, CorruptError, OverwriteError
from ckpt_core.schema.access import Files
from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.side_files.reserved_names import DIRECTORY_SEAL, FILE_SUFFIX, LEASE, MARK
from ckpt_core.schema.side_files.seals import is_seal, pack, unpack
from ckpt_core.schema.text import printable, redact
from ckpt_core.storage.objects.lease import held
from ckpt_core.storage.objects.store import ABSENT, Condition, ObjectStore, StoredObject
from ckpt_core.storage.repairing.overlay import OverlaidFiles
from ckpt_core.storage.repairing.steps import DONE, STEPS, Step, digest_of, encode_steps, parse_steps

_COMPARED = 64 << 20
"""Most bytes of an object that are read to tell whether it is what it was; a longer one is told by its length."""


class InStore:
    """The place of a checkpoint in a store.

    Args:
        files: Its listing.
        store: The store.
        key: Of the directory or the object.
    """

    def __init__(self, files: Files, store: ObjectStore, key: str) -> None:
        url = files.location.url.rstrip("/")
        self.shown = redact(url)
        self._store, self._files = store, files
        self._check: Callable[[], None] = lambda: None
        folder, _, name = key.rpartition("/")
        self._one = name if files.location.kind is LocationKind.FILE else ""
        self._above = url[: url.rindex("/") + 1] if self._one else f"{url}/"
        self._root = _folder(folder if self._one else key)
        self._mark = f".{name}{MARK}" if self._one else MARK
        self._data = self._root + _folder(files.generation)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lease the checkpoint for a block, as any writer does.

        What a repair left that had changed nothing is swept.
        """
        lease = self._root + self._mark + LEASE.removeprefix(MARK)
        with held(self._store, lease, place=self.shown) as held_lease:
            self._check = held_lease.check
            for number in self._numbers():
                if self._store.head(self._backup(number) + STEPS) is None:
                    self._remove(self._backup(number))
            yield

    def require(self, files: Files) -> None:
        """Raise CorruptError where a listing is of other content.

        It is asked under the lease: something else may be there than before.
        """
        if files.generation != self._files.generation or files.location.kind != self._files.location.kind:
            raise CorruptError(f"{self.shown}: changed while it was opened; nothing was repaired, try again")

    def interrupted(self) -> bool:
        """Return whether the last repair did not come to its end."""
        last = self._last()
        return last is not None and self._store.head(last + DONE) is None

    def backups(self) -> list[str]:
        """The backups that undo works from, the oldest first."""
        folders = [self._backup(number) for number in self._numbers()]
        return [folder for folder in folders if self._store.head(folder + STEPS) is not None]

    def apply(self, mended: OverlaidFiles) -> str:
        """Carry out a plan, the seal last; return the backup's path.

        `confirm` ends it, `undo` takes it back.

        Raises:
            ConditionFailedError: Another writer changed an object meanwhile.
            CkptError: The store fails; what was done so far is undone by `undo`.
        """
        folder = self._backup(max(self._numbers(), default=0) + 1)
        there = self._looked_at(mended)
        steps = _steps(mended, there)
        for index, step in enumerate(steps):
            found = there[step.path]
            if found is not None and (step.had or step.do == "remove"):
                self._store.copy(found.key, _old(folder, index), version=found.version)
        self._check()
        self._store.put(folder + STEPS, encode_steps(steps), ABSENT)
        for step in steps:
            self._check()
            self._do(step, mended, there)
        return f"{self._above}{folder.removeprefix(self._root).rstrip('/')}"

    def confirm(self, backup: str) -> None:
        """Note that what was done is whole and verified."""
        self._store.put(f"{self._root}{backup.rpartition('/')[2]}/{DONE}", b"")

    def undo(self) -> list[str]:
        """Take back the last repair, wherever it stopped.

        Returns the paths that are as they were.

        Raises:
            CheckpointNotFoundError: There is no backup.
            OverwriteError: A file was changed after the repair; that would be lost.
            CorruptError: The backup's notes are damaged, or lead out of the checkpoint.
        """
        folder = self._last()
        if folder is None:
            raise CheckpointNotFoundError(f"{self.shown}: no backup of a repair in it; there is nothing to undo")
        text = self._store.read(folder + STEPS)
        steps = list(enumerate(parse_steps(text, f"{self.shown}: {STEPS}", leads_away=_leads_away)))
        for index, step in steps:
            self._refuse_changed(_old(folder, index), step)
        for index, step in reversed(steps):
            self._check()
            self._take_back(_old(folder, index), step)
        self._store.delete([folder + STEPS])
        self._remove(folder)
        return sorted(step.source or step.path for _, step in steps)

    def _looked_at(self, mended: OverlaidFiles) -> dict[str, StoredObject | None]:
        """Return the present state of each path of a plan."""
        paths = {*mended.moved, *mended.moved.values(), *mended.removed, *mended.written}
        return {path: self._store.head(self._key(path)) for path in sorted(paths)}

    def _do(self, step: Step, mended: OverlaidFiles, there: dict[str, StoredObject | None]) -> None:
        key, found = self._key(step.path), there[step.path]
        if step.do == "write":
            data = self._with_version(step.path, mended.written[step.path], there)
            condition = ABSENT if found is None or not step.had else Condition(version=found.version)
            there[step.path] = self._store.put(key, data, condition)
        elif step.do == "move":
            source = there[step.source]
            assert source is not None
            there[step.path] = self._store.copy(source.key, key, version=source.version)
            self._delete(source)
            there[step.source] = None
        elif found is not None:
            self._delete(found)
            there[step.path] = None

    def _delete(self, found: StoredObject) -> None:
        if not self._store.delete_version(found.key, found.version):
            raise OverwriteError(f"{self._store.url}/{printable(found.key)}: was changed meanwhile; it was kept")

    def _with_version(self, path: str, data: bytes, there: Mapping[str, StoredObject | None]) -> bytes:
        """Return a single object's seal with its present version.

        Anything else as it is.
        """
        found = there.get(self._one) or self._store.head(self._key(self._one)) if self._one else None
        if found is None or path != self._one + FILE_SUFFIX or not is_seal(data):
            return data
        seal = unpack(data, None, path=path)
        return pack(replace(seal, objects={self._one: found.version}), apart=False)[0] if seal.objects else data

    def _refuse_changed(self, old: str, step: Step) -> None:
        """OverwriteError where undoing would overwrite what came after the repair."""
        found, kept = self._store.head(self._key(step.path)), self._store.head(old)
        if found is None or self._is_same(found, kept):
            return
        if step.do == "write":
            changed = not step.path.endswith(FILE_SUFFIX) and self._digest(found) != step.made
        else:
            changed = step.do == "remove" or found.size != step.size
        if changed:
            raise OverwriteError(f"{printable(step.path)}: changed after the repair; move it away, then undo")

    def _take_back(self, old: str, step: Step) -> None:
        key = self._key(step.path)
        if step.do == "move" and self._store.head(self._key(step.source)) is None:
            self._store.copy(key, self._key(step.source))
        if self._store.head(old) is not None:
            self._restore(old, step.path)
        elif step.do != "remove":
            self._store.delete([key])

    def _restore(self, old: str, path: str) -> None:
        """Give a path its former content.

        A single object is another version now, which its seal has to name.
        """
        found = self._store.head(self._key(path))
        if self._one and path == self._one + FILE_SUFFIX:
            self._store.put(self._key(path), self._with_version(path, self._store.read(old), {}))
        elif found is None or not self._is_same(found, self._store.head(old)):
            self._store.copy(old, self._key(path))

    def _is_same(self, first: StoredObject, other: StoredObject | None) -> bool:
        if other is None or first.size != other.size:
            return False
        return first.version == other.version or self._digest(first) == self._digest(other)

    def _digest(self, found: StoredObject) -> str:
        return digest_of(self._store.read(found.key)) if found.size <= _COMPARED else f"{found.size} bytes"

    def _key(self, path: str) -> str:
        return (self._root if path == DIRECTORY_SEAL else self._data) + path

    def _numbers(self) -> list[int]:
        start = f"{self._root}{self._mark}backup-"
        pattern = re.compile(re.escape(start) + r"(\d{1,9})/.*")
        return sorted({int(match[1]) for one in self._store.find(start) if (match := pattern.fullmatch(one.key))})

    def _backup(self, number: int) -> str:
        return f"{self._root}{self._mark}backup-{number}/"

    def _last(self) -> str | None:
        return next(reversed(self.backups()), None)

    def _remove(self, folder: str) -> None:
        self._store.delete([one.key for one in self._store.find(folder)])


def _steps(mended: OverlaidFiles, there: Mapping[str, StoredObject | None]) -> list[Step]:
    """Moves and removals, then what is written, seals last."""
    moved = mended.moved
    steps = []
    for new, old in moved.items():
        source = there[old]
        if source is None:
            raise CorruptError(f"{printable(old)}: was removed meanwhile; nothing was repaired, try again")
        steps.append(Step("move", new, old, size=source.size, had=there[new] is not None))
    steps += [Step("remove", path) for path in mended.removed]
    for path, data in mended.written.items():
        had = there[path] is not None and path not in moved.values()
        steps.append(Step("write", path, made=digest_of(data), size=len(data), had=had))
    return steps


def _old(folder: str, index: int) -> str:
    return f"{folder}old-{index}"


def _folder(key: str) -> str:
    return f"{key}/" if key else ""


def _leads_away(path: str) -> bool:
    return bool({"", ".", ".."} & set(path.split("/")))
