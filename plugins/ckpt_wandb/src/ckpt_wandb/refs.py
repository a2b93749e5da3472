"""Names of artifacts: `wandb://entity/project/name:alias[/path]`, and `entity/project/name:alias` without a scheme."""

import os
import re
from dataclasses import dataclass, replace

from ckpt_core import UsageError, printable

SCHEME = "wandb://"

_BARE = re.compile(r"[^/:#\s~.][^/:#\s]*/[^/:#\s]+/[^/:#\s]+:[^/:#\s]+$")
"""A name with its project and entity, as the client writes it; nothing that starts like a path."""


@dataclass(frozen=True, slots=True)
class ArtifactRef:
    """A version of an artifact, and a path in it.

    Attributes:
        entity, project, name: Whose it is.
        alias: `v3`, or a name that moves, such as `latest`.
        path: A file or folder in it; "" for the whole.
    """

    entity: str
    project: str
    name: str
    alias: str = "latest"
    path: str = ""

    @property
    def qualified(self) -> str:
        """Return the client's name: `entity/project/name:alias`."""
        return f"{self.entity}/{self.project}/{self.name}:{self.alias}"

    @property
    def is_pinned(self) -> bool:
        """Return whether the alias is a version, which never changes."""
        return re.fullmatch(r"v\d+", self.alias) is not None

    def at(self, version: str) -> "ArtifactRef":
        return replace(self, alias=version)

    def __str__(self) -> str:
        return f"{SCHEME}{self.qualified}{'/' if self.path else ''}{self.path}"


def parse(text: str) -> ArtifactRef:
    """Return the ref in a URL, or in one without its scheme.

    `latest` where it names no version.

    Raises:
        UsageError: It names no artifact.
    """
    entity, project, named, *rest = [*text.removeprefix(SCHEME).split("/", 3), "", "", ""][:4]
    name, colon, alias = named.partition(":")
    if not (entity and project and name) or (colon and not alias) or {".", ".."} & {entity, project, name}:
        raise UsageError(
            f"{printable(text.partition('?')[0])}: names no artifact of W&B; give {SCHEME}ENTITY/PROJECT/NAME:VERSION, "
            f"as {SCHEME}me/my-project/my-model:latest"
        )
    return ArtifactRef(entity, project, name, alias or "latest", rest[0].rstrip("/"))


def is_bare(text: str) -> bool:
    """Return whether a ref without a scheme is an artifact's.

    It has that form, and no folder of this machine leads there.
    """
    return _BARE.match(text) is not None and not os.path.isdir(os.path.dirname(text))


def meant(text: str | None) -> ArtifactRef | None:
    """The artifact that a ref means; None where it means something else.

    Raises:
        UsageError: It is a `wandb://` URL that names no artifact.
    """
    if text is None or not (text.startswith(SCHEME) or is_bare(text)):
        return None
    return parse(text)
