"""A destination in a store of objects.

The names of what is put there, and of what is there already.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from ckpt_core import knobs
from ckpt_core.arguments import argument
from ckpt_core.errors import BudgetError, CheckpointNotFoundError, OverwriteError, UsageError
from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.side_files.reserved_names import (
    DIRECTORY_SEAL,
    FILE_SUFFIX,
    GENERATION,
    JOURNAL,
    LEASE,
    STAGE,
    UNFINISHED,
    is_under_way,
)
from ckpt_core.schema.side_files.seals import PLACEHOLDER as PLACEHOLDER
from ckpt_core.schema.side_files.seals import generation_of, is_seal
from ckpt_core.schema.text import redact
from ckpt_core.storage.objects.open_store import open_store
from ckpt_core.storage.objects.store import ObjectStore, StoredObject
from ckpt_core.storage.urls import local_path
from ckpt_core.storage.writing.uploads.journal import Noted, read_journal


@dataclass(frozen=True, slots=True)
class ObjectPlace:
    """A destination: the file of a key, or the directory of it."""

    store: ObjectStore
    url: str
    key: str
    kind: LocationKind

    @property
    def root(self) -> str:
        """Return the key prefix of a directory's content.

        For a file it is that of the directory that the file is in.
        """
        folder = self.key if self.kind is LocationKind.DIRECTORY else self.key.rpartition("/")[0]
        return f"{folder}/" if folder else ""

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    def own(self) -> str:
        """Return the key prefix of a writer's leftovers.

        It lies in the directory, or beside the file, with its name.
        """
        return self.root if self.kind is LocationKind.DIRECTORY else f"{self.root}.{self.name}"

    @property
    def seal(self) -> str:
        return self.root + DIRECTORY_SEAL if self.kind is LocationKind.DIRECTORY else self.key + FILE_SUFFIX

    @property
    def unfinished(self) -> str:
        return self.root + UNFINISHED

    @property
    def lease(self) -> str:
        return self.own + LEASE

    @property
    def folders(self) -> str:
        """Return the key prefixes of unfinished content.

        Of the folders of what is not to be seen yet, or of what replaces a content.
        """
        return self.own + (GENERATION if self.kind is LocationKind.DIRECTORY else STAGE)

    def url_of(self, key: str) -> str:
        """The URL of a key below the root."""
        url = self.url if self.kind is LocationKind.DIRECTORY else self.url[: self.url.rindex("/")]
        return f"{url}/{key.removeprefix(self.root)}"


@dataclass(frozen=True, slots=True)
class Found:
    """The content of a destination.

    Attributes:
        content: What is of a checkpoint there, or anybody's; one of it is enough where it is only asked whether.
        seal: The object of the seal, or of its placeholder.
        sealed: Whether it is a seal.
        other: What of the other kind is there: `file` or `directory`.
        begun: The journals of runs that were not committed, by the folder of their data.
    """

    content: tuple[StoredObject, ...]
    seal: StoredObject | None
    sealed: bool
    other: str
    begun: dict[str, Noted]


def place_of(ref: str, kind: LocationKind) -> ObjectPlace:
    """Return the place of a URL, or of a mount's path.

    The mount is one that cannot rename.

    Raises:
        UsageError: It is a bucket, and nothing in it.
        UnsupportedFormatError: Nothing is written to such URLs, or a package is missing.
    """
    path = local_path(ref)
    if path is not None:
        from ckpt_core.storage.writing.mounts.mount_store import MountStore

        folder, name = os.path.split(os.path.realpath(path))
        return ObjectPlace(MountStore(folder), os.path.join(folder, name), name, kind)
    store, key = open_store(ref)
    if not key:
        raise UsageError(f"{redact(ref)}: not a place to write to; name a file or directory in it")
    return ObjectPlace(store, ref.rstrip("/"), key, kind)


def look(place: ObjectPlace, *, all: bool) -> Found:
    """Return the content of a destination.

    All of it where `all` is set, for whoever replaces it.
    """
    return _look_in_directory(place, all) if place.kind is LocationKind.DIRECTORY else _look_at_file(place)


def refuse_existing(place: ObjectPlace, found: Found, *, replace: bool) -> None:
    """OverwriteError where something is there that may not be replaced."""
    if found.other:
        raise OverwriteError(
            f"{redact(place.url)}: is a {found.other}, and a {place.kind.value} is to be written; choose another place"
        )
    if found.content and not replace:
        raise OverwriteError(
            f"{redact(place.url)}: exists; choose another place, or {argument('force', True)} to replace it"
        )


def _look_at_file(place: ObjectPlace) -> Found:
    there, seal = place.store.head(place.key), place.store.head(place.seal)
    folder = next(iter(place.store.find(f"{place.key}/")), None)
    begun = dict(_journals(place, (one.key for one in place.store.find(place.folders))))
    return Found((there,) if there else (), seal, seal is not None, "directory" if folder else "", begun)


def _look_in_directory(place: ObjectPlace, all: bool) -> Found:
    store, other = place.store, "file" if place.store.head(place.key) is not None else ""
    marked = store.head(place.unfinished) is not None
    listed: list[StoredObject] = []
    for one in store.find(place.root):
        listed.append(one)
        if not (all or marked or is_under_way(one.key.removeprefix(place.root).partition("/")[0])):
            return Found((one,), None, False, other, {})
        if len(listed) > knobs.listing_limit():
            raise BudgetError(f"{redact(place.url)}: more than {knobs.listing_limit()} files; name another place")
    seal = next((one for one in listed if one.key == place.seal), None)
    text = _read(store, seal)
    generation = generation_of(text)
    begun = dict(_journals(place, (one.key for one in listed)))
    if is_seal(text):  # what it names is no work under way, whatever was left of its journal
        begun.pop(f"{place.root}{generation}/" if generation else place.root, None)
    own = {folder + path for folder, noted in begun.items() for path in noted.files}
    kept = f"{place.root}{generation}/" if generation else None
    content = [one for one in listed if one.key not in own and _is_content(place, one.key, kept, is_seal(text))]
    return Found(tuple(content), seal, is_seal(text), other, begun)


def _is_content(place: ObjectPlace, key: str, generation: str | None, sealed: bool) -> bool:
    if key == place.seal:
        return sealed
    if generation is not None and key.startswith(generation):
        return True
    return not is_under_way(key.removeprefix(place.root).partition("/")[0])


def _journals(place: ObjectPlace, keys: Iterator[str]) -> Iterator[tuple[str, Noted]]:
    for folder in sorted({key[: key.index(JOURNAL)] for key in keys if JOURNAL in key}):
        if folder == place.root or folder.startswith(place.folders):
            noted = read_journal(place.store, folder)
            if noted is not None:
                yield folder, noted


def _read(store: ObjectStore, found: StoredObject | None) -> bytes:
    if found is None:
        return b""
    try:
        return store.read(found.key)
    except CheckpointNotFoundError:
        return b""
