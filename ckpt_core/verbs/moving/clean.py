"""Clean: list what gone writers left at a place, and remove it.

Nothing is removed before it is asked for.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

from ckpt_core.errors import CheckpointNotFoundError, CkptError, LockedError
from ckpt_core.schema.text import printable, redact
from ckpt_core.storage.objects.leftovers import Leftover, leftovers
from ckpt_core.storage.objects.open_store import open_store
from ckpt_core.storage.repairing.leftovers import left_by_repairs
from ckpt_core.storage.urls import local_path
from ckpt_core.storage.writing.local_leftovers import local_leftovers
from ckpt_core.storage.writing.mounts.mount_store import MountStore
from ckpt_core.storage.writing.mounts.renames import commits_by_rename
from ckpt_core.storage.writing.publishing.publisher import Publisher, publisher_of
from ckpt_core.verbs.checked_arguments import checked
from ckpt_core.verbs.reference import Destination, destination_of


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """Something that a writer has left.

    Attributes:
        place: What was being written: a path, or a URL.
        kind: What is left of it, in a few words.
        age: Seconds since the last sign of its writer, by the clock of the disk or the store.
        nbytes: Its bytes, those of uploads among them.
        files: Files or objects.
        uploads: Uploads that were begun and not completed.
        held: Who is at work there, so that it stays; "" for nobody.
        removed: Whether it was removed.
    """

    place: str
    kind: str
    age: float
    nbytes: int
    files: int
    uploads: int
    held: str = ""
    removed: bool = False


@dataclass(frozen=True, slots=True)
class CleanReport:
    """The leftovers at a place, and what became of them.

    Attributes:
        place: Where was looked.
        found: What is left, or was.
        error: Why something could not be removed although nobody seemed to be at work there.
    """

    place: str
    found: tuple[LeftBehind, ...]
    error: CkptError | None = None

    @property
    def pending(self) -> tuple[LeftBehind, ...]:
        """The leftovers that could be removed and are still there."""
        return tuple(one for one in self.found if not one.held and not one.removed)


@checked()
def clean(ref: Destination, *, apply: bool = False) -> CleanReport:
    """List the leftovers of gone writers at and below a place.

    They are removed where that is asked for.

    Only what carries the names of ckpt's own stages, locks and backups is touched on a disk, and in a store only what a
    lease or a journal of ckpt's own names, once its lease has expired by the store's clock. Of a place that publishes,
    such as `wandb://`, it is what was staged for it on this machine; no version of it is touched.

    Args:
        ref: A path or a URL: what was being written, or a folder above it; of a place that publishes, just that.
        apply: Remove what nobody is at work on.

    Raises:
        CheckpointNotFoundError: Nothing is there, and nothing was left of it.
        UnsupportedFormatError: Nothing is written to such URLs.
        UnreachableError: The place does not answer, or may not be read.
    """
    place = destination_of(ref, "ref")
    found, there = _listed(place)
    left = list(found)
    if not left and not there():
        raise CheckpointNotFoundError(f"{redact(place)}: nothing there, and nothing was left of it; check the name")
    if not apply:
        return CleanReport(redact(place), tuple(map(_told, left)))
    done, error = [], None
    for one in left:
        told = _told(one)
        if not one.held:
            try:
                one.remove()
                told = replace(told, removed=True)
            except LockedError:
                told = replace(told, held="another writer, who came meanwhile")
            except CkptError as failed:
                error = error or failed
        done.append(told)
    return CleanReport(redact(place), tuple(done), error)


def _listed(place: str) -> tuple[Iterable[Leftover], Callable[[], bool]]:
    """Return the leftovers at a place, and the sign that anything exists."""
    path = local_path(place)
    if path is not None:
        found = chain(local_leftovers(path), left_by_repairs(path), _on_mount(os.path.realpath(path)))
        return found, lambda: os.path.lexists(path)
    publisher = publisher_of(place)
    if publisher is not None:
        return _staged(place, publisher), lambda: True
    store, key = open_store(place)

    def there() -> bool:
        return bool(key and store.head(key)) or any(True for _ in store.find(f"{key}/" if key else ""))

    return leftovers(store, key), there


def _staged(place: str, publisher: Publisher) -> Iterator[Leftover]:
    """Yield the leftovers of uploads to a URL, which are staged here."""
    for one in local_leftovers(publisher.staging(place, is_file=False)):
        yield replace(one, place=place)


def _on_mount(path: str) -> Iterator[Leftover]:
    """Yield the leftovers on a mount that cannot rename.

    Its writers treat it as a store.
    """
    folder, name = (path, "") if os.path.isdir(path) else os.path.split(path)
    try:
        if not os.path.isdir(folder) or commits_by_rename(folder):
            return
    except CkptError:
        return  # nothing can be written there, nor removed
    if not name and os.stat(os.path.dirname(path)).st_dev == os.stat(path).st_dev:
        folder, name = os.path.split(path)  # so that what lies beside it is seen too
    yield from leftovers(MountStore(folder), name)


def _told(one: Leftover) -> LeftBehind:
    place = redact(one.place) if "://" in one.place else printable(one.place, 4096)
    return LeftBehind(place, one.kind, one.age, one.size, one.count, one.uploads, one.held)
