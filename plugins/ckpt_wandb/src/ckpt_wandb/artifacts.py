"""Artifacts pinned to a version.

They know their entries, and where each file is asked for.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from ckpt_core import NoAnswerError, printable
from ckpt_wandb.absences import absence
from ckpt_wandb.client import Client, client
from ckpt_wandb.failures import AbsentError
from ckpt_wandb.refs import ArtifactRef

_TOGETHER = 100
"""Files whose URLs are asked for at once."""

_KEPT = 64
"""Pinned artifacts that a process remembers: their content never changes."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of an artifact's manifest.

    Attributes:
        path: Relative to the artifact's root, as it is written there.
        size: In bytes; None where the manifest does not say.
        digest: base64 of the file's hash; of a reference, what its store said of it, or its URL.
        algorithm: `md5` or `xxh128`.
        reference: The URL of what is stored elsewhere; None for a file of the artifact.
    """

    path: str
    size: int | None
    digest: str
    algorithm: str = "md5"
    reference: str | None = None

    @property
    def is_checked(self) -> bool:
        """Return whether the digest is a hash of the bytes.

        The bytes are those that are to come: of references there is no hash.
        """
        return self.reference is None

    @property
    def is_marked(self) -> bool:
        """Return whether a reference was added with a checksum.

        Without, its URL stands in its place.
        """
        return self.reference is not None and self.digest != self.reference


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an artifact, and the aliases that mean it now."""

    name: str
    aliases: tuple[str, ...]


class PinnedArtifact:
    """A version of an artifact, which never changes.

    Attributes:
        ref: With the version as its alias.
        digest: Of its manifest.
        type: As it was logged: `model`, …
        aliases: That meant this version when it was looked up.
        metadata: As it was logged.
    """

    def __init__(self, asked: ArtifactRef, of: Client, artifact: Any) -> None:
        self.ref = ArtifactRef(asked.entity, asked.project, asked.name, str(artifact.version))
        self.digest = str(artifact.digest)
        self.type = str(artifact.type)
        self.aliases = tuple(map(str, artifact.aliases))
        self.metadata: Mapping[str, Any] = dict(artifact.metadata or {})
        self._client = of
        self._artifact = artifact
        self._urls: dict[str, str] = {}
        self._lock = threading.Lock()

    @cached_property
    def entries(self) -> Mapping[str, Entry]:
        """The manifest, by path, sorted.

        Raises:
            NoAnswerError: It did not come.
        """
        lines = self._client.ask(str(self.ref), lambda: dict(self._artifact.manifest.entries))
        return {path: _entry(path, lines[path]) for path in sorted(lines)}

    @property
    def run_id(self) -> str | None:
        """Return the run that logged it.

        None where it is gone, or there was none.

        Raises:
            NoAnswerError: It cannot be told.
        """
        try:
            run = self._client.ask(str(self.ref), self._artifact.logged_by)
        except AbsentError:
            return None
        return None if run is None else str(run.id)

    def url(self, path: str, *, fresh: bool = False) -> str:
        """The URL of a file, signed for a while; a secret.

        Args:
            path: Of a file that is stored in the artifact.
            fresh: Ask for a new one, since the last was refused.

        Raises:
            NoAnswerError: The server does not give one.
        """
        with self._lock:
            if fresh or path not in self._urls:
                self._urls |= self._asked_urls([path] if fresh else self._beside(path))
            if path not in self._urls:
                raise NoAnswerError(
                    f"{self.ref}/{printable(path)}: W&B gives no URL for it; check the artifact's files in its web page"
                )
            return self._urls[path]

    def _beside(self, path: str) -> Sequence[str]:
        """Return the files worth asking for with a file.

        They are all others, where these are few.
        """
        stored = [one for one, entry in self.entries.items() if entry.reference is None]
        return stored if len(stored) <= _TOGETHER else [path]

    def _asked_urls(self, paths: Sequence[str]) -> dict[str, str]:
        def ask() -> dict[str, str]:
            files = self._artifact.files(names=list(paths), per_page=len(paths))
            return {str(file.name): str(file.direct_url or file.url) for file in files}

        return self._client.ask(str(self.ref), ask)

    def versions(self, most: int = 50) -> Iterator[Version]:
        """The newest versions of the artifact, newest first.

        Raises:
            NoAnswerError: They did not come.
        """
        place = f"{self.ref.entity}/{self.ref.project}/{self.ref.name}"
        api = self._client.api(self.ref.entity, str(self.ref))
        newest = self._client.ask(
            str(self.ref), lambda: list(islice(api.artifacts(self.type, place, per_page=most), most))
        )
        yield from (Version(str(one.version), tuple(map(str, one.aliases))) for one in newest)


def _entry(path: str, line: Any) -> Entry:
    algorithm = str(line.digest_algorithm().name).rpartition("_")[2].lower()
    reference = None if line.ref is None else str(line.ref)
    return Entry(path, line.size, str(line.digest), algorithm, reference)


_pinned: dict[tuple[Client, str], PinnedArtifact] = {}


def open_artifact(asked: ArtifactRef, *, type: str | None = None) -> PinnedArtifact:
    """The version that a ref means now.

    Args:
        asked: The artifact; its path is not looked at.
        type: What it must be, such as `model`; None for any.

    Raises:
        CheckpointNotFoundError: There is no such project, artifact, version or alias.
        NoAnswerError: W&B does not answer, or refuses the key.
        UsageError: It is of another type.
    """
    asking = client()
    known = _pinned.get((asking, asked.qualified))
    if known is None:
        place = str(ArtifactRef(asked.entity, asked.project, asked.name, asked.alias))
        api = asking.api(asked.entity, place)
        try:
            known = PinnedArtifact(asked, asking, asking.ask(place, lambda: api.artifact(asked.qualified)))
        except AbsentError:
            raise absence(asking, api, asked, place) from None
        while len(_pinned) >= _KEPT:
            _pinned.pop(next(iter(_pinned)), None)
        known = _pinned.setdefault((asking, known.ref.qualified), known)
    if type not in (None, known.type):
        from ckpt_core import UsageError

        raise UsageError(f"{known.ref}: an artifact of type {printable(known.type)}, asked was {type}; name another")
    return known
