"""Places in a store where writers were at work.

They are told by the names of leases and journals.

DIRECTORY/.ckpt-unfinished.json      the lease of a directory that is made
DIRECTORY/.ckpt-lease.json           of one that is replaced, by a folder DIRECTORY/.ckpt-generation-ID/
.NAME.ckpt-lease.json                of the file NAME beside it, staged in .NAME.ckpt-stage-ID/
FOLDER/.ckpt-journal/00000.json      what a run may put into a folder, and has
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from ckpt_core.schema.side_files.reserved_names import (
    DIRECTORY_SEAL,
    GENERATION,
    JOURNAL,
    LEASE,
    MARK,
    STAGE,
    UNFINISHED,
)
from ckpt_core.storage.objects.store import StoredObject

_STAGE = re.compile(rf"\.(.+){re.escape(STAGE)}[^/]+")


@dataclass(slots=True)
class Site:
    """A directory, or a file, that writers were at work at.

    Attributes:
        root: How the keys begin of what is in the directory, or in that of the file.
        name: Of the file; empty for a directory.
        leases: The objects of its leases.
        journals: Those of its journals, by the folder of their data.
        generations: The folders of a directory's contents that replace each other.
    """

    root: str
    name: str
    leases: list[StoredObject] = field(default_factory=list)
    journals: dict[str, list[StoredObject]] = field(default_factory=dict)
    generations: set[str] = field(default_factory=set)

    @property
    def key(self) -> str:
        """Of the place itself."""
        return f"{self.root}{self.name}".rstrip("/")

    @property
    def own(self) -> str:
        """Return the prefixes of all keys a writer can leave."""
        return f"{self.root}.{self.name}{MARK}" if self.name else self.root

    @property
    def seal(self) -> str:
        return self.root + DIRECTORY_SEAL

    @property
    def lease(self) -> str:
        """The key by which a writer that comes now would hold it."""
        made = f"{self.root}{UNFINISHED}"
        if not self.name and any(one.key == made for one in self.leases):
            return made
        return f"{self.root}.{self.name}{LEASE}" if self.name else f"{self.root}{LEASE}"


def sites_of(listed: Iterable[StoredObject]) -> list[Site]:
    """The sites of a listing, by their keys."""
    found: dict[tuple[str, str], Site] = {}
    for one in listed:
        if MARK in one.key:
            _note(found, one)
    return [site for _, site in sorted(found.items()) if site.leases or site.journals or site.generations]


def _note(found: dict[tuple[str, str], Site], one: StoredObject) -> None:
    folder, _, name = one.key.rpartition("/")
    root = f"{folder}/" if folder else ""
    if name in (UNFINISHED, LEASE):
        _site(found, root, "").leases.append(one)
    elif name.startswith(".") and name.endswith(LEASE):
        _site(found, root, name[1 : -len(LEASE)]).leases.append(one)
    elif JOURNAL in one.key:
        data = one.key[: one.key.index(JOURNAL)]
        _of_folder(found, data).journals.setdefault(data, []).append(one)
    elif f"/{GENERATION}" in f"/{one.key}":
        end = one.key.index("/", f"/{one.key}".index(f"/{GENERATION}"))
        _of_folder(found, one.key[: end + 1]).generations.add(one.key[: end + 1])


def _of_folder(found: dict[tuple[str, str], Site], folder: str) -> Site:
    """Return the site whose data a folder holds.

    A stage is that of a file, a generation of the directory it is in.
    """
    above, _, name = folder.rstrip("/").rpartition("/")
    root = f"{above}/" if above else ""
    staged = _STAGE.fullmatch(name)
    if staged:
        return _site(found, root, staged[1])
    return _site(found, root if name.startswith(GENERATION) else folder, "")


def _site(found: dict[tuple[str, str], Site], root: str, name: str) -> Site:
    return found.setdefault((root, name), Site(root, name))
