"""Changes of a checkpoint where it lies.

A backup has every byte of what was there.

.ckpt-backup-1/       inside of a directory, so that it goes where the checkpoint goes and never meets another one;
                      of a single file beside it: `.NAME.ckpt-backup-1`
    new-0, new-1, …   new content, until it has its name
    old-0, old-1, …   what was replaced (copied) or removed (moved here)
    steps.json        the steps, written before the first is done: from here on undo works, wherever it stops
    done              all of it was done and verified

A backup without `steps.json` is of a repair that had changed nothing yet, or of an undo that had ended: it is swept.
Listings and seals leave the names out.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from ckpt_core.arguments import argument
from ckpt_core.errors import CheckpointNotFoundError, CorruptError, OverwriteError, UnsupportedFormatError
from ckpt_core.schema.access import Files
from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.side_files.reserved_names import MARK
from ckpt_core.schema.text import printable
from ckpt_core.storage.files.regular import fill, open_regular
from ckpt_core.storage.repairing.overlay import OverlaidFiles
from ckpt_core.storage.repairing.steps import DONE, STEPS, Step, digest_of, encode_steps, parse_steps
from ckpt_core.storage.writing import syscalls
from ckpt_core.storage.writing.locks import locked


class InPlace:
    """The folder that the paths of a checkpoint's files start at."""

    def __init__(self, files: Files) -> None:
        where = files.location.url.rstrip("/")
        self.shown = where
        whole = os.path.realpath(where)
        self._parent, self._name = os.path.split(whole)
        one = files.location.kind is LocationKind.FILE
        self.root = self._parent if one else whole
        self._prefix = f".{self._name}{MARK}backup-" if one else f"{MARK}backup-"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the checkpoint for a block, as any writer does.

        What a repair left that had changed nothing is swept.
        """
        with locked(os.path.join(self._parent, f".{self._name}{MARK}lock"), place=self.shown):
            for number in self._numbers():
                if not os.path.lexists(os.path.join(self.backup(number), STEPS)):
                    syscalls.remove_tree(self.backup(number))
            yield

    def require(self, files: Files) -> None:
        """Raise CorruptError where a listing is of another place.

        With the lock, something else is there than before it.
        """
        if InPlace(files).root != self.root:
            raise CorruptError(f"{self.shown}: changed while it was opened; nothing was repaired, try again")

    def backup(self, number: int) -> str:
        return os.path.join(self.root, f"{self._prefix}{number}")

    def interrupted(self) -> bool:
        """Return whether the last repair did not come to its end."""
        last = self._last()
        return last is not None and not os.path.lexists(os.path.join(last, DONE))

    def apply(self, mended: OverlaidFiles) -> str:
        """Carry out a plan, the seal last; return the backup's path.

        `confirm` ends it, `undo` takes it back.

        Raises:
            UnsupportedFormatError: A file is a link: what it leads to may be another's too.
            CkptError: A write fails; what was done so far is undone by `undo`.
        """
        number = max(self._numbers(), default=0) + 1
        folder, steps = self.backup(number), self._steps_of(mended)
        syscalls.make_directory(folder)
        for index, step in enumerate(steps):
            if step.had:
                _copy(self._path(step.path), _old(folder, index))
            if step.do == "write":
                syscalls.write_file(_new(folder, index), mended.written[step.path])
                _keep_mode(_old(folder, index), _new(folder, index))
        _note(folder, steps)
        syscalls.sync_directory(self.root)
        for index, step in enumerate(steps):
            self._do(folder, index, step)
        self._sync(steps)
        syscalls.sync_directory(folder)
        return folder

    def confirm(self, backup: str) -> None:
        """Note that what was done is whole and verified."""
        syscalls.write_file(os.path.join(backup, DONE), b"")
        syscalls.sync_directory(backup)

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
        steps = list(enumerate(_read_steps(folder)))
        for index, step in steps:
            self._refuse_changed(folder, index, step)
        for index, step in reversed(steps):
            self._take_back(folder, index, step)
        self._sync([step for _, step in steps])
        syscalls.remove(os.path.join(folder, STEPS))
        syscalls.sync_directory(folder)
        syscalls.remove_tree(folder)
        syscalls.sync_directory(self.root)
        return sorted(step.source or step.path for _, step in steps)

    def _numbers(self) -> list[int]:
        pattern = re.compile(re.escape(self._prefix) + r"(\d{1,9})")
        found = map(pattern.fullmatch, syscalls.list_names(self.root))
        return sorted(int(match[1]) for match in found if match)

    def backups(self) -> list[str]:
        """The backups that undo works from, the oldest first."""
        folders = [self.backup(number) for number in self._numbers()]
        return [folder for folder in folders if os.path.lexists(os.path.join(folder, STEPS))]

    def _last(self) -> str | None:
        return next(reversed(self.backups()), None)

    def _path(self, path: str) -> str:
        return os.path.join(self.root, path)

    def _steps_of(self, mended: OverlaidFiles) -> list[Step]:
        """Moves and removals, then what is written, seals last."""
        moved, removed = mended.moved, mended.removed
        steps = [Step("move", new, old, had=self._is_there(new)) for new, old in moved.items()]
        steps += [Step("remove", path) for path in removed]
        for path, data in mended.written.items():
            had = self._is_there(path) and path not in moved.values()
            steps.append(Step("write", path, made=digest_of(data), had=had))
        for path in {step.path for step in steps} | set(moved.values()):
            if os.path.islink(self._path(path)):
                raise UnsupportedFormatError(
                    f"{printable(path)}: a link, whose target others may use; "
                    f"write a repaired copy with {argument('output')}"
                )
        return steps

    def _is_there(self, path: str) -> bool:
        return os.path.lexists(self._path(path))

    def _do(self, folder: str, index: int, step: Step) -> None:
        source = {"write": _new(folder, index), "move": self._path(step.source), "remove": self._path(step.path)}
        target = _old(folder, index) if step.do == "remove" else self._path(step.path)
        syscalls.rename(source[step.do], target)

    def _refuse_changed(self, folder: str, index: int, step: Step) -> None:
        """OverwriteError where undoing would overwrite what came after the repair."""
        path = self._path(step.path)
        if step.do == "write" and os.path.lexists(path):
            known = [step.made, digest_of(_read(_old(folder, index)))] if step.had else [step.made]
            changed = digest_of(_read(path)) not in known
        elif step.do == "remove":
            changed = os.path.lexists(path) and os.path.lexists(_old(folder, index))
        else:
            changed = step.do == "move" and os.path.lexists(path) and not step.had and self._is_there(step.source)
        if changed:
            raise OverwriteError(f"{printable(step.path)}: changed after the repair; move it away, then undo")

    def _take_back(self, folder: str, index: int, step: Step) -> None:
        path, old = self._path(step.path), _old(folder, index)
        if step.do == "remove":
            if os.path.lexists(old):
                syscalls.rename(old, path)
            return
        if step.do == "move" and not self._is_there(step.source):
            syscalls.rename(path, self._path(step.source))
        if step.had:
            back = f"{old}-back"
            syscalls.remove(back)
            _copy(old, back)
            syscalls.rename(back, path)
        elif step.do == "write":
            syscalls.remove(path)

    def _sync(self, steps: list[Step]) -> None:
        touched = {os.path.dirname(self._path(path)) for step in steps for path in (step.path, step.source) if path}
        for folder in sorted(touched | {self.root}):
            syscalls.sync_directory(folder)


def _new(folder: str, index: int) -> str:
    return os.path.join(folder, f"new-{index}")


def _old(folder: str, index: int) -> str:
    return os.path.join(folder, f"old-{index}")


def _note(folder: str, steps: list[Step]) -> None:
    """Write the steps, whole or not at all."""
    staged = os.path.join(folder, f"{STEPS}.new")
    syscalls.write_file(staged, encode_steps(steps))
    syscalls.sync_directory(folder)
    syscalls.rename(staged, os.path.join(folder, STEPS))
    syscalls.sync_directory(folder)


def _read_steps(folder: str) -> list[Step]:
    """Return the steps of a backup.

    CorruptError where one leads out of the folder that it lies in, by name or by a link.
    """
    path, root = os.path.join(folder, STEPS), os.path.realpath(os.path.dirname(folder))

    def leads_away(path: str) -> bool:
        above = os.path.realpath(os.path.join(root, os.path.dirname(path)))
        return os.path.isabs(path) or ".." in path.split("/") or os.path.commonpath([root, above]) != root

    return parse_steps(_read(path), printable(path), leads_away=leads_away)


def _copy(source: str, target: str) -> None:
    """Copy a file, synced, with its source's mode.

    It shares nothing with it that a later write could change.
    """
    syscalls.write_file(target, _read(source))
    _keep_mode(source, target)


def _keep_mode(source: str, target: str) -> None:
    if os.path.lexists(source):
        os.chmod(target, os.stat(source).st_mode & 0o7777)


def _read(path: str) -> bytes:
    descriptor = open_regular(path, path)
    try:
        out = bytearray(os.fstat(descriptor).st_size)
        fill(descriptor, path, 0, memoryview(out))
        return bytes(out)
    finally:
        os.close(descriptor)
