"""A run whose checkpoints are versions, at a place that publishes.

Whoever uploads them makes them; here they are listed, and removed.
"""

from collections.abc import Mapping, Sequence

from ckpt_core.errors import UnsupportedFormatError
from ckpt_core.log import Logger
from ckpt_core.schema.text import redact
from ckpt_core.storage.writing.publishing.versions import PublishedVersion, listing_publisher, published_versions
from ckpt_core.training.run import Run
from ckpt_core.training.tiers.sealed_run import is_of_run, sealed_run

_log = Logger(__name__)


class RunVersions(Run):
    """A run whose checkpoints are versions.

    Of several of one step the newest is its checkpoint; with it go those of its run, and no others.

    Raises:
        UnsupportedFormatError: The place cannot list or remove versions.
        UsageError: The URL names none that a run's checkpoints are versions of.
    """

    only_removes = True

    def __init__(self, url: str) -> None:
        super().__init__()
        publisher = listing_publisher(url)
        if publisher is None:
            raise UnsupportedFormatError(f"{redact(url)}: what was published there cannot be listed or removed")
        publisher.check_versions(url)
        self.path = url.rstrip("/")
        self._publisher = publisher
        self._versions: dict[int, list[PublishedVersion]] = {}

    def open(self) -> None:
        """Nothing: a version is made or removed at once."""

    def close(self) -> None:
        """Nothing, as for `open`."""

    def steps(self) -> list[int]:
        self._versions = {}
        for one in published_versions(self._publisher, self.path):
            if one.step is not None:
                self._versions.setdefault(one.step, []).append(one)
        return sorted(self._versions)

    def place(self, step: int) -> str:
        found = self._versions.get(step)
        return super().place(step) if found is None else _place(found[0], step)

    def is_there(self, step: int) -> bool:
        return step in self._versions

    def named(self) -> Mapping[int, Sequence[str]]:
        named = {step: [alias for one in found for alias in one.aliases] for step, found in self._versions.items()}
        return {step: aliases for step, aliases in named.items() if aliases}

    def remove(self, step: int) -> None:
        newest, *older = self._versions[step]
        run = sealed_run(_place(newest, step)) if older else ""
        ours = [newest, *(one for one in older if is_of_run(_place(one, step), run))]
        for version in reversed(ours):
            self._publisher.remove_version(version.url)
            _log.info("removed %s", redact(version.url))
        self._versions[step] = [one for one in older if one not in ours]
        if not self._versions[step]:
            del self._versions[step]
        self.known.discard(step)

    def put_aside(self, step: int) -> None:
        raise UnsupportedFormatError(f"{redact(self.path)}: nothing can be put aside there")

    def committed_at(self, step: int) -> float:
        return self._versions[step][0].made if step in self._versions else 0.0


def _place(version: PublishedVersion, step: int) -> str:
    return f"{version.url}/checkpoint-{step}"
