"""Versions of an artifact, listed and removed.

A version that an alias means is never removed. Every version of a checkpoint has `step-N` from its upload: it says
which one it is, nobody chose it, and it goes with the version.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from ckpt_core import CheckpointNotFoundError, OverwriteError, UsageError, printable
from ckpt_wandb.artifacts import open_artifact
from ckpt_wandb.client import client
from ckpt_wandb.failures import AbsentError
from ckpt_wandb.refs import SCHEME, parse

_PAGE = 100


def check_versions(url: str) -> None:
    """Refuse a URL that names no artifact with versions.

    Raises:
        UsageError: Below a project each checkpoint would be an artifact of its own, or a version is named.
    """
    parts = url.removeprefix(SCHEME).rstrip("/").split("/")
    if len(parts) < 3:
        raise UsageError(
            f"{printable(url)}: there each checkpoint is an artifact of its own, whose one version is its latest; "
            f"give {SCHEME}ENTITY/PROJECT/NAME, of which all are versions"
        )
    if ":" in parts[2] and parse(url).is_pinned:
        raise UsageError(f"{printable(url)}: is one version; give {SCHEME}ENTITY/PROJECT/NAME")


def versions_of(url: str) -> Iterator[dict[str, Any]]:
    """Yield the versions of a URL's artifact, newest first.

    None where there is no such artifact yet; see `WandbFileSystem.versions`. NoAnswerError where W&B does not answer.
    """
    asked = parse(url)
    place = f"{asked.entity}/{asked.project}/{asked.name}"
    try:
        newest = open_artifact(asked.at("latest"))
    except CheckpointNotFoundError:
        return
    api = client().api(asked.entity, url)
    found = client().ask(url, lambda: list(api.artifacts(newest.type, place, per_page=_PAGE)))
    for one in found:
        step = _step(one.metadata)
        yield {
            "url": str(asked.at(str(one.version))),
            "step": step,
            "aliases": _chosen(one.aliases, step),
            "made": datetime.fromisoformat(str(one.created_at)).timestamp(),
        }


def remove_version(url: str) -> None:
    """Remove a version for good.

    Its `step-N` goes first, so that W&B itself refuses where another alias came meanwhile.

    Raises:
        OverwriteError: An alias means it, or it is linked to elsewhere; it is as it was.
        NoAnswerError: W&B did not answer, or refused.
    """
    asked, asking = parse(url), client()
    api = asking.api(asked.entity, url)
    try:
        artifact = asking.ask(url, lambda: api.artifact(asked.qualified))
    except AbsentError:
        return
    aliases = _chosen(artifact.aliases, _step(artifact.metadata))
    links = asking.ask(url, lambda: [str(one.qualified_name) for one in artifact.linked_artifacts])
    if aliases or links:
        named = ", ".join(map(printable, (*aliases, *links)))
        raise OverwriteError(f"{printable(url)}: is {named} by now; it stays")
    asking.ask(url, lambda: _delete(artifact))


def _delete(artifact: Any) -> None:
    if artifact.aliases:
        artifact.aliases = []
        artifact.save()
    artifact.delete(delete_aliases=False)


def _step(metadata: Mapping[str, Any] | None) -> int | None:
    step = (metadata or {}).get("step")
    return step if isinstance(step, int) else None


def _chosen(aliases: Any, step: int | None) -> tuple[str, ...]:
    """Return the aliases that somebody chose, `latest` too."""
    return tuple(str(alias) for alias in aliases if alias != f"step-{step}")
