"""`VersionStore`: the records, tables and aliases of a store of versions."""

import json
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import chain
from typing import NamedTuple, TypeVar

from ckpt_core import knobs
from ckpt_core.errors import CheckpointNotFoundError, ConditionFailedError, CorruptError, OverwriteError, ReplacedError
from ckpt_core.schema.side_files.reserved_names import MARK
from ckpt_core.schema.text import printable, redact
from ckpt_core.storage.objects.store import ABSENT, Condition, ObjectStore, StoredObject
from ckpt_core.storage.urls import local_path
from ckpt_core.storage.versions.directory_store import DirectoryStore
from ckpt_core.storage.versions.names import (
    ALIASES,
    LATEST,
    SIGN,
    SIGNED,
    VERSIONS,
    gaps_in,
    named,
    number_of,
    number_of_key,
    record_key,
    require_alias,
)
from ckpt_core.storage.versions.record import FENCE, GOING, VersionRecord, parse_record
from ckpt_core.storage.versions.table import VersionTable, parse_table
from ckpt_core.storage.workers import run
from ckpt_core.storage.writing.mounts.mount_store import MountStore
from ckpt_core.storage.writing.syscalls import make_directories

T = TypeVar("T")

_ALIAS_SCHEMA = "ckpt/alias@1"
_ROUNDS = 20
_LARGEST_RECORD = 64 << 20
_LARGEST_TABLE = 1 << 30
"""Bytes that are read into memory of what somebody may have put there; some ten million pieces need less."""


class Head(NamedTuple):
    """The last record of a store, and its newest version.

    `version` is what a condition names the record by.

    `newest` is the newest version that is whole; None where there is none.
    """

    record: VersionRecord | None
    version: str
    newest: VersionRecord | None

    @property
    def next(self) -> int:
        """The number that the next version gets."""
        if self.record is None:
            return 0
        return self.record.number + (0 if self.record.kind == FENCE else 1)

    @property
    def condition(self) -> Condition:
        """When a record of the next number may be put."""
        fenced = self.record is not None and self.record.kind == FENCE
        return Condition(version=self.version) if fenced else ABSENT


class VersionStore:
    """A store of versions.

    Args:
        store: The bucket, or folder, that it is in.
        root: What its keys begin with; empty, or ending in `/`.
        url: What a person calls it.
    """

    def __init__(self, store: ObjectStore, root: str, url: str) -> None:
        self.store, self.root, self.url = store, root, url

    def __str__(self) -> str:
        return redact(self.url)

    def key(self, name: str) -> str:
        return f"{self.root}{name}"

    def below(self, key: str) -> str:
        """Return the name of an object of the store, without its root."""
        return key.removeprefix(self.root)

    @cached_property
    def is_local(self) -> bool:
        return local_path(self.url) is not None

    def exists(self) -> bool:
        """Return True where the sign of a store is there."""
        return self.store.head(self.key(SIGN)) is not None

    def make(self) -> None:
        """Put the sign of a store.

        Raises:
            OverwriteError: Something else is there.
        """
        if self.exists():
            return
        if isinstance(self.store, MountStore):
            make_directories(self.store.url)
        others = (one.key for one in self.store.find(self.root) if MARK not in one.key)  # of who makes it just now
        if next(others, self.key(SIGN)) != self.key(SIGN):
            raise OverwriteError(
                f"{self}: holds other files, and is no store of versions; name an empty place, or a new one"
            )
        try:
            self.store.put(self.key(SIGN), SIGNED, ABSENT)
        except ConditionFailedError:
            pass  # another publisher's first use: the same sign

    def require(self) -> None:
        """Raise CheckpointNotFoundError where no store is there."""
        if not self.exists():
            raise CheckpointNotFoundError(f"{self}: no store of versions; ckpt publish REF STORE makes one")

    def numbers(self) -> list[int]:
        """Return the numbers of all records, in order."""
        found = (number_of_key(name) for name in self._names(VERSIONS))
        return sorted(number for number in found if number is not None)

    def gaps(self) -> list[range]:
        """Return the numbers whose records are lost.

        None is ever removed, so that each below the last has one.
        """
        if not gaps_in(numbers := self.numbers()):
            return []
        return gaps_in(sorted({*numbers, *self.numbers()}))  # a listing may miss what is put while it is made

    def require_whole(self) -> None:
        """Raise CorruptError (VS005) where a record is lost.

        What it names is not known.
        """
        for gap in self.gaps():
            raise CorruptError(
                f"{self}: the record of {named(gap)} is lost, and what it names cannot be told from what nothing "
                "names; bring it back from a copy of the store",
                code="VS005",
                path=record_key(gap[0]),
            )

    def record(self, number: int) -> VersionRecord:
        """Return the record of a number.

        Raises:
            CheckpointNotFoundError: There is none.
        """
        key = record_key(number)
        return parse_record(self._read(key, _LARGEST_RECORD), key)

    def replace_record(self, before: VersionRecord, after: VersionRecord) -> bool:
        """Put a record in place of another.

        Returns False where that is not there any more.
        """
        key = record_key(before.number)
        try:
            there, version = self._versioned(key, parse_record)
            if there.encoded() != before.encoded():
                return False
            self.store.put(self.key(key), after.encoded(), Condition(version=version))
        except (CheckpointNotFoundError, ConditionFailedError, ReplacedError):
            return False
        return True

    def keep(self, number: int) -> VersionRecord:
        """Return the record of a version that no pruning has marked.

        Where one had, the mark is taken back.

        Raises:
            CheckpointNotFoundError: There is no such version, or it was pruned.
            ConditionFailedError: Prunings would free it, again and again.
        """
        for _ in range(_ROUNDS):
            found = self.find(f"v{number}")
            if found.kind != GOING:
                return found
            self.replace_record(found, found.staying)
        raise ConditionFailedError(f"{self}@v{number}: prunings would free it again and again; try again later")

    def records(self) -> list[VersionRecord]:
        """Return every record, in order of their numbers."""
        numbers = self.numbers()
        made: dict[int, VersionRecord] = {}

        def read(share: list[int]) -> None:
            made.update((number, self.record(number)) for number in share)

        width = 1 if self.is_local else min(knobs.remote_connections(), max(len(numbers), 1))
        run(read, [share for share in (numbers[at::width] for at in range(width)) if share])
        return [made[number] for number in numbers]

    def head(self) -> Head:
        """Return the last record and the newest version.

        It is looked at again where a pruning or another publisher changes it meanwhile.

        Raises:
            CheckpointNotFoundError: It changed again and again.
        """
        for left in reversed(range(_ROUNDS)):
            try:
                return self._head()
            except (CheckpointNotFoundError, ReplacedError):
                if not left:
                    raise
        raise AssertionError

    def _head(self) -> Head:
        numbers = self.numbers()
        if not numbers:
            return Head(None, "", None)
        last, version = self._versioned(record_key(numbers[-1]), parse_record)
        older = (self.record(number) for number in reversed(numbers[:-1]))
        newest = next((record for record in chain([last], older) if record.is_whole), None)
        return Head(last, version, newest)

    def _versioned(self, name: str, parse: Callable[[bytes, str], T]) -> tuple[T, str]:
        """Return what an object holds, and what a condition names it by."""
        there = self.store.head(self.key(name))
        if there is None:
            raise CheckpointNotFoundError(f"{self}: {name} is not there; run it again")
        return parse(self._read(name, _LARGEST_RECORD, there), name), there.version

    def _read(self, name: str, most: int, there: StoredObject | None = None) -> bytes:
        """Return an object, unless it is known to be too large.

        Its size is looked at where that costs no request.
        """
        known = self.store.head(self.key(name)) if there is None and self.is_local else there
        if known is not None and known.size > most:
            raise CorruptError(
                f"{printable(name)}: has {known.size} bytes, and at most {most} are read; bring the object back from a "
                "copy of the store",
                code="VS002",
                path=name,
            )
        return self.store.read(self.key(name), version=None if there is None else there.version)

    def find(self, name: str, *, explain: bool = True) -> VersionRecord:
        """Return the record that `v3`, `latest` or an alias stands for.

        Args:
            name: Which one.
            explain: Let an error say what there is, for some questions more.

        Raises:
            CheckpointNotFoundError: There is none, or it was pruned.
        """
        number = number_of(name)
        if number is None and name != LATEST:
            number = self.alias(name)[0]
        if name == LATEST:
            newest = self.head().newest
            if newest is not None:
                return newest
        elif number is not None:
            try:
                found = self.record(number)
            except CheckpointNotFoundError:
                raise self._no_version(name, explain) from None
            if found.is_whole:
                return found
            if found.kind != FENCE:
                raise CheckpointNotFoundError(f"{self}@{name}: was pruned; ckpt log {self} lists what there is")
        raise self._no_version(name, explain)

    def table(self, record: VersionRecord) -> VersionTable:
        """Return the table of a version.

        Raises:
            CorruptError: VS001, the store has lost it; VS002, it is not the one that was stored.
            ReplacedError: It was pruned meanwhile.
        """
        try:
            return parse_table(self._read(record.table, _LARGEST_TABLE), record.table, record.table_digest)
        except CheckpointNotFoundError:
            if not self.record(record.number).is_whole:
                message = f"{self}@{record.name}: was pruned while it was opened; ckpt log {self} shows what there is"
                raise ReplacedError(message, code="MO001") from None
            raise lost(record.table) from None

    def alias(self, name: str) -> tuple[int | None, str]:
        """Return the number of an alias, and its version.

        None where there is none; a condition names it by the second.
        """
        for _ in range(_ROUNDS):
            try:
                return self._versioned(f"{ALIASES}{name}.json", _number_of)
            except CheckpointNotFoundError:
                return None, ""
            except ReplacedError:
                continue  # it has just moved
        raise ConditionFailedError(f"{self}@{printable(name, 80)}: moves again and again; try again later")

    def aliases(self) -> dict[str, int]:
        """Return every alias with its number."""
        names = sorted(name[len(ALIASES) : -5] for name in self._names(ALIASES) if name.endswith(".json"))
        found = {name: self.alias(name)[0] for name in names if "/" not in name and not name.startswith(".")}
        return {name: number for name, number in found.items() if number is not None}

    def set_alias(self, name: str, number: int) -> None:
        """Let an alias stand for a version, moved by compare-and-swap.

        Raises:
            UsageError: The name cannot be an alias.
            CheckpointNotFoundError: There is no such version, or it was pruned.
            ConditionFailedError: The alias moved meanwhile, again and again.
        """
        key, data = self.key(f"{ALIASES}{require_alias(name)}.json"), _alias_of(number)
        self.find(f"v{number}")
        before, version = self.alias(name)
        if before != number:
            self.store.put(key, data, Condition(version=version) if version else ABSENT)
        try:
            self.keep(number)
        except CheckpointNotFoundError:  # a pruning looks at aliases after its mark, and we at the mark after the alias
            self._take_back(key, before, number)
            raise

    def _take_back(self, key: str, before: int | None, number: int) -> None:
        there = self.store.head(key)
        if there is None or _number_of(self.store.read(key, version=there.version), key) != number:
            return
        if before is None:
            self.store.delete_version(key, there.version)
        else:
            self.store.put(key, _alias_of(before), Condition(version=there.version))

    def listed(self, name: str) -> Iterator[StoredObject]:
        """Yield the objects below a part of the store."""
        return self.store.find(self.key(name))

    def _names(self, folder: str) -> list[str]:
        if isinstance(self.store, DirectoryStore):
            return self.store.names(folder)
        return [self.below(one.key) for one in self.listed(folder)]

    def _no_version(self, name: str, explain: bool) -> CheckpointNotFoundError:
        if not explain:
            return CheckpointNotFoundError(f"{self}@{printable(name, 80)}: no such version")
        numbers = [record.number for record in self.records() if record.is_whole]
        has = f"v{numbers[0]} to v{numbers[-1]}" if len(numbers) > 1 else "".join(f"v{one}" for one in numbers)
        known = ", ".join([has or "none", *(printable(one, 80) for one in self.aliases())])
        return CheckpointNotFoundError(
            f"{self}@{printable(name, 80)}: no such version, there is {known}; ckpt log {self} lists them"
        )


def lost(key: str) -> CorruptError:
    """Return the error for an object that a store has lost."""
    return CorruptError(
        f"{printable(key)}: the store has lost this object; ckpt verify STORE says which versions it is of; bring it "
        "back from a copy of the store",
        code="VS001",
        path=key,
    )


def _alias_of(number: int) -> bytes:
    return json.dumps({"schema": _ALIAS_SCHEMA, "version": number}).encode()


def _number_of(data: bytes, key: str) -> int:
    try:
        tree = json.loads(data)
        if tree["schema"] != _ALIAS_SCHEMA or type(tree["version"]) is not int:
            raise ValueError(tree["schema"])
        return int(tree["version"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptError(
            f"{printable(key)}: not an alias ({type(error).__name__}); set it again with ckpt alias",
            code="VS002",
            path=key,
        ) from None
