"""The version that a ref means, said and pinned."""

from collections.abc import Iterator

from ckpt_core import Candidate, Priority, Query
from ckpt_wandb.artifacts import PinnedArtifact, Version, open_artifact
from ckpt_wandb.refs import ArtifactRef, meant


def candidates(query: Query) -> Iterator[Candidate]:
    """Yield the artifact's version that the ref means.

    Whoever wants all reasons gets its other versions too.

    Raises:
        UsageError: The ref is a `wandb://` URL that names no artifact.
        CheckpointNotFoundError: There is no such project, artifact, version or alias.
        NoAnswerError: W&B does not answer, or refuses the key.
    """
    asked = meant(query.place)
    if asked is None:
        return
    pinned = open_artifact(asked)
    yield Candidate(_url(pinned.ref, asked.path), Priority.EXPLICIT, _reason(asked, pinned), required=True)
    if query.explain:
        for number, version in enumerate(pinned.versions()):
            if version.name != pinned.ref.alias:
                yield Candidate(
                    _url(pinned.ref.at(version.name), asked.path), Priority.FALLBACK, _named(version), order=number
                )


def _url(ref: ArtifactRef, path: str) -> str:
    return f"{ref}/{path}" if path else str(ref)


def _reason(asked: ArtifactRef, pinned: PinnedArtifact) -> str:
    means = "W&B artifact" if asked.is_pinned else f":{asked.alias} → {pinned.ref.alias}"
    others = [alias for alias in pinned.aliases if alias != asked.alias]
    also = f", also {', '.join(others)}" if others else ""
    return f"{means}, digest {pinned.digest}{also}"


def _named(version: Version) -> str:
    return f"another version: {', '.join(version.aliases)}" if version.aliases else "another version"
