"""Aliases of published versions.

Names that are to mean them, and that move.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ckpt_core.arguments import argument
from ckpt_core.errors import UsageError
from ckpt_core.schema.text import redact
from ckpt_core.storage.writing.publishing.publisher import Publisher, publisher_of


class NamingPublisher(Publisher, Protocol):
    """A filesystem that publishes, and whose versions have aliases."""

    def check_aliases(self, url: str, aliases: Sequence[str]) -> None:
        """Refuse what is no alias there.

        UsageError, which names it.
        """

    def publish(
        self, url: str, files: Mapping[str, str], *, is_file: bool, aliases: Sequence[str] = ()
    ) -> Mapping[str, Any]:
        """Make a version that these aliases mean; see `Publisher`."""


def naming_publisher(ref: str) -> NamingPublisher | None:
    """Return the filesystem that publishes at a URL, if it has aliases.

    None where versions there have none, or there are no versions.
    """
    publisher: Any = publisher_of(ref)
    return publisher if callable(getattr(publisher, "check_aliases", None)) else None


def check_aliases(ref: str, aliases: Sequence[str]) -> None:
    """Refuse aliases that a destination does not have.

    Raises:
        UsageError: It has none, or one is none there.
    """
    if not aliases:
        return
    publisher = naming_publisher(ref)
    if publisher is None:
        raise UsageError(
            f"{argument('aliases')}: {redact(ref)} has no aliases, only names; leave them out, or give a place whose "
            "versions have some, such as wandb://ENTITY/PROJECT/NAME; nothing was written"
        )
    publisher.check_aliases(ref, aliases)
