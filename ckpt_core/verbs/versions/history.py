"""Lists the versions of a store, and names one of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ckpt_core.arguments import argument
from ckpt_core.errors import UsageError
from ckpt_core.schema.text import printable
from ckpt_core.storage.versions.names import LATEST, number_of
from ckpt_core.storage.versions.opening import open_version_store
from ckpt_core.storage.versions.record import VersionRecord
from ckpt_core.storage.versions.version_store import VersionStore
from ckpt_core.verbs.checked_arguments import checked
from ckpt_core.verbs.reference import Destination, destination_of


@dataclass(frozen=True, slots=True)
class VersionList:
    """The versions of a store.

    Attributes:
        store: Where it is.
        versions: Those that can be opened, the oldest first.
        aliases: The number that each name stands for.
        pruned: Numbers of those that were pruned.
    """

    store: str
    versions: tuple[VersionRecord, ...]
    aliases: Mapping[str, int]
    pruned: tuple[int, ...] = ()


@checked()
def list_versions(store: Destination, *, storage_options: Mapping[str, Any] | None = None) -> VersionList:
    """List the versions of a store; no table is read.

    Args:
        store: Its path or URL.
        storage_options: For the clients of s3://, gs:// and hf://, by their own names, such as `endpoint_url`; None for
            what their configuration says.

    Raises:
        CheckpointNotFoundError: No store is there.
        CorruptError: VS002, a record is damaged.
    """
    place = opened_store(store)
    records = place.records()
    whole = tuple(record for record in records if record.is_whole)
    pruned = tuple(record.number for record in records if record.kind == "pruned")
    return VersionList(str(place), whole, place.aliases(), pruned)


@checked()
def set_alias(
    store: Destination, name: str, version: str | int, *, storage_options: Mapping[str, Any] | None = None
) -> VersionRecord:
    """Let a name stand for a version, moved by compare-and-swap.

    Args:
        store: Its path or URL.
        name: The alias, such as `best`.
        version: `v3`, 3, `latest`, or another alias.
        storage_options: See `list_versions`.

    Returns:
        The record of the version.

    Raises:
        UsageError: The name cannot be an alias.
        CheckpointNotFoundError: No store, or no such version, is there.
        ConditionFailedError: Another process moved the alias meanwhile.
    """
    place = opened_store(store)
    record = place.find(version_name(version))
    place.set_alias(name, record.number)
    return record


def opened_store(store: Destination) -> VersionStore:
    """Return a store that is there.

    Raises:
        CheckpointNotFoundError: None is.
    """
    place = open_version_store(destination_of(store, "store"))
    place.require()
    return place


def version_name(version: str | int) -> str:
    """Return the name of a version: `v3` for 3 and `3`."""
    if isinstance(version, int) and not isinstance(version, bool) and version >= 0:
        return f"v{version}"
    if isinstance(version, str) and version:
        return f"v{version}" if version.isdecimal() else version
    raise UsageError(
        f"{argument('version')}: v3, 3, {LATEST} or an alias is needed, not {printable(repr(version), 80)}"
    )


def number_in(versions: VersionList, name: str | int) -> int:
    """Return the number of a version that is listed.

    Raises:
        UsageError: None of that name is.
    """
    asked = version_name(name)
    number = number_of(asked)
    if asked == LATEST and versions.versions:
        number = versions.versions[-1].number
    elif number is None:
        number = versions.aliases.get(asked)
    if number not in [record.number for record in versions.versions]:
        raise UsageError(
            f"{versions.store}@{printable(asked, 80)}: no such version; ckpt log {versions.store} lists them"
        )
    assert number is not None
    return number
