"""A destination that publishes.

Its files are staged on this machine, proved there, and given over as one version.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ckpt_core.errors import FormatError, ReplacedError, UnsupportedFormatError
from ckpt_core.schema.locations import Location, LocationKind
from ckpt_core.schema.side_files.seals import Seal
from ckpt_core.schema.text import redact
from ckpt_core.storage.ranks.ranks import ALONE, Ranks
from ckpt_core.storage.writing.local_target import LocalTarget
from ckpt_core.storage.writing.publishing.publisher import Publisher
from ckpt_core.storage.writing.staging import Stage, hold


class PublishedTarget(LocalTarget):
    """A stage on this machine whose files a commit publishes.

    Attributes:
        location: The destination; once it is committed, the version that was made.
        published: What the publisher said; empty before.
        aliases: That are to mean the version, where it has some.
    """

    def __init__(self, publisher: Publisher, ref: str, stage: Stage, **how: Any) -> None:
        super().__init__(Location(ref, how.pop("kind")), stage, **how)
        self.published: Mapping[str, Any] = {}
        self.aliases: Sequence[str] = ()
        self._publisher, self._ref = publisher, ref

    def _commit(self, seal: Seal | None) -> None:
        is_file = self.location.kind is LocationKind.FILE
        if seal is not None:
            self._write_seal(seal, is_file)
        named: dict[str, Any] = {"aliases": self.aliases} if self.aliases else {}
        files = files_below(self._stage.data)
        self.published = self._publisher.publish(self._ref, files, is_file=is_file, **named)
        self.location = Location(str(self.published["url"]), self.location.kind)
        self._named = True
        self._stage.clear()


@contextmanager
def open_published_target(
    publisher: Publisher,
    ref: str,
    *,
    format: str,
    kind: LocationKind,
    options: Mapping[str, Any] | None = None,
    resume: bool = False,
    ranks: Ranks = ALONE,
) -> Iterator[PublishedTarget]:
    """A destination that publishes, its stage locked for the block; see `open_target`."""
    if ranks.world > 1:
        raise UnsupportedFormatError(
            f"{redact(ref)}: is published by one process; write to a folder that all ranks share, and ckpt copy it"
        )
    folder = publisher.staging(ref, is_file=kind is LocationKind.FILE)
    name = ref.rstrip("/").rpartition("/")[2] if kind is LocationKind.FILE else "content"
    with hold(folder, name, "convert" if resume else f"save-{os.getpid()}") as stage:
        target = PublishedTarget(
            publisher, ref, stage, kind=kind, format=format, options=options or {}, resume=resume, ranks=ranks
        )
        try:
            yield target
        except (FormatError, ReplacedError):
            target.drop(entirely=True)  # going on from it would end here again
            raise
        finally:
            target.drop()


def files_below(folder: str) -> dict[str, str]:
    """Every file below a folder by its relative path, hidden ones too."""
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            found[os.path.relpath(path, folder)] = path
    return dict(sorted(found.items()))
