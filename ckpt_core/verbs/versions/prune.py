"""Prune: free the versions of a store that no rule keeps."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from ckpt_core.arguments import argument
from ckpt_core.errors import CorruptError, UsageError
from ckpt_core.schema.text import printable
from ckpt_core.storage.versions.checking import Proof
from ckpt_core.storage.versions.pruning import free, unnamed
from ckpt_core.storage.versions.record import VersionRecord
from ckpt_core.storage.versions.version_store import VersionStore
from ckpt_core.verbs.checked_arguments import checked
from ckpt_core.verbs.reference import Destination
from ckpt_core.verbs.versions.history import opened_store

if TYPE_CHECKING:
    from ckpt_core.schema.access.targets import Progress


class Retention(Protocol):
    """A rule of keeping, such as `training.Keep`."""

    @property
    def every(self) -> int | None:
        """Keep those whose step is a multiple of this."""

    @property
    def best(self) -> str | None:
        """Keep the best of this metric."""

    def kept(self, metrics: Mapping[int, Mapping[str, float]], times: Any = None) -> set[int]:
        """Return those that are kept, by metrics and time."""


@dataclass(frozen=True, slots=True)
class PrunedVersions:
    """The outcome of a pruning of a store.

    Attributes:
        store: Where it is.
        kept: Names of the versions that stay, each with the reason.
        removed: Names of those that go; they are there still where it was not applied.
        nbytes: Bytes of the objects that nothing names then; what stopped publishers left counts too.
        applied: Whether it was done.
    """

    store: str
    kept: Mapping[str, str]
    removed: tuple[str, ...]
    nbytes: int
    applied: bool = False


@checked()
def prune_versions(
    store: Destination,
    keep: Retention,
    *,
    apply: bool = False,
    progress: "Progress | None" = None,
    storage_options: Mapping[str, Any] | None = None,
) -> PrunedVersions:
    """List or free the versions that a rule does not keep.

    The newest is always kept, and every one that an alias stands for. Whoever publishes meanwhile is waited for.

    Args:
        store: Its path or URL.
        keep: The rule; steps are those that the versions record, times those of their publication.
        apply: Free them, after every digest of those that are kept was proved.
        progress: Told of the bytes read of those that are kept.
        storage_options: For the clients of s3://, gs:// and hf://, by their own names, such as `endpoint_url`; None for
            what their configuration says.

    Raises:
        CheckpointNotFoundError: No store is there.
        UsageError: The metric of the rule was never recorded; nothing was freed.
        CorruptError: One that would be kept is not whole; nothing was freed.
        LockedError: Another pruning is at work there, or a publisher's lease cannot be read, and was not renewed.
    """
    place = opened_store(store)
    records = [record for record in place.records() if record.is_whole]
    aliases = place.aliases()
    _refuse_unknown(keep, records)
    kept = _kept(keep, records, aliases)
    gone = [record for record in records if record.number not in kept]
    if apply:
        _prove(place, [record for record in records if record.number in kept], progress)
    nbytes = free(place, gone) if apply else unnamed(place, [one.number for one in gone]).nbytes
    if apply:
        gone = [one for one in gone if not place.record(one.number).is_whole]
    names = {record.name: kept.get(record.number, "an alias came to stand for it") for record in records}
    removed = tuple(record.name for record in gone)
    left = {name: why for name, why in names.items() if name not in removed}
    return PrunedVersions(str(place), left, removed, nbytes, apply)


def _prove(place: VersionStore, kept: list[VersionRecord], progress: "Progress | None") -> None:
    proof = Proof(place)
    proof.prove_versions(kept, progress)
    if proof.findings:
        found = proof.findings[0]
        raise CorruptError(
            f"{place}: what would be kept is not whole ({found.message}); nothing was freed; ckpt verify {place} "
            "shows all of it: bring the object back from a copy of the store, and prune again",
            code=found.code,
            path=found.path,
        )


def _kept(keep: Retention, records: list[VersionRecord], aliases: Mapping[str, int]) -> dict[int, str]:
    """Return why each version that is kept is."""
    metrics = {record.number: record.metrics for record in records}
    times = {record.number: record.created for record in records}
    by_number: Any = replace(keep, every=None)  # type: ignore[type-var]
    found = dict.fromkeys(by_number.kept(metrics, times.__getitem__), "by the rule")
    if keep.every:
        steps = {record.number: record.step for record in records if record.step is not None}
        found |= {number: "by its step" for number, step in steps.items() if step % keep.every == 0}
    for number in aliases.values():
        found[number] = "alias " + ", ".join(sorted(name for name, one in aliases.items() if one == number))
    if records:
        found.setdefault(records[-1].number, "the newest")
    return found


def _refuse_unknown(keep: Retention, records: list[VersionRecord]) -> None:
    name = (keep.best or "").removeprefix("+")
    if keep.best is not None and not any(name in record.metrics for record in records):
        known = ", ".join(sorted({printable(one, 60) for record in records for one in record.metrics})) or "none"
        raise UsageError(
            f"{argument('best', keep.best)}: no version records this metric; recorded are {known}; nothing was freed"
        )
