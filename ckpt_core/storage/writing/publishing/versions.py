"""Versions that were published, listed and removed."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ckpt_core.storage.writing.publishing.publisher import Publisher, publisher_of


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """One version at a place that publishes.

    Attributes:
        url: Pinned to it.
        step: Of the checkpoint in it; None where it says none.
        aliases: The names that somebody gave it and that mean it now; not those that every version has.
        made: When, in seconds since 1970.
    """

    url: str
    step: int | None
    aliases: tuple[str, ...]
    made: float


class ListingPublisher(Publisher, Protocol):
    """A filesystem that publishes, and removes what it published."""

    def check_versions(self, url: str) -> None:
        """Refuse a URL that names nothing with versions.

        UsageError, which says what does; nothing is asked for.
        """

    def versions(self, url: str) -> Iterable[Mapping[str, Any]]:
        """Yield the versions, newest first.

        Of each the attributes of `PublishedVersion`, by their names.
        """

    def remove_version(self, url: str) -> None:
        """Remove a version for good.

        CkptError where an alias means it by now.
        """


def listing_publisher(ref: str) -> ListingPublisher | None:
    """Return the filesystem that lists what is published at a URL.

    None where none does.
    """
    publisher: Any = publisher_of(ref)
    return publisher if callable(getattr(publisher, "remove_version", None)) else None


def published_versions(publisher: ListingPublisher, url: str) -> Iterator[PublishedVersion]:
    """Yield what is published at a URL, newest first."""
    for one in publisher.versions(url):
        yield PublishedVersion(one["url"], one["step"], tuple(one["aliases"]), one["made"])
