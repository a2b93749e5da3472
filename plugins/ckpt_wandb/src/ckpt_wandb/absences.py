"""Messages for what is missing, with the nearest names.

Project, artifact, version or alias.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Any

from ckpt_core import CheckpointNotFoundError, printable
from ckpt_wandb.client import Client
from ckpt_wandb.failures import AbsentError
from ckpt_wandb.refs import ArtifactRef

_MOST = 200
"""Names that are looked through."""

_SHOWN = 6


def absence(asking: Client, api: Any, asked: ArtifactRef, place: str) -> CheckpointNotFoundError:
    """Return the error that says what is missing.

    A NoAnswerError where it cannot be told.
    """
    project = f"{asked.entity}/{asked.project}"
    try:
        types = asking.ask(place, lambda: list(islice(api.artifact_types(project), _MOST)))
    except AbsentError:
        step = "check the entity and the project, and whether the API key may see them"
        return CheckpointNotFoundError(f"{place}: no project {printable(project)}; {step}")
    named = asking.ask(place, lambda: {one.name: kind.name for kind in types for one in _some(kind.collections())})
    if asked.name not in named:
        what = f"no artifact {printable(asked.name)} in {printable(project)}"
        return CheckpointNotFoundError(f"{place}: {what}; {_instead(asked.name, named)}")
    collection = f"{project}/{asked.name}"
    versions = asking.ask(place, lambda: list(_some(api.artifacts(named[asked.name], collection))))
    known = [name for one in versions for name in (one.version, *one.aliases)]
    what = f"{printable(asked.name)} has no version or alias {printable(asked.alias)}"
    return CheckpointNotFoundError(f"{place}: {what}; {_instead(asked.alias, known)}")


def _some(listed: Iterable[Any]) -> Iterable[Any]:
    return islice(listed, _MOST)


def _instead(word: str, known: Iterable[str]) -> str:
    names = [name for name in known if name]
    near: Sequence[str] = get_close_matches(word, names, 3, 0.6)
    if near:
        return f"did you mean {' or '.join(map(printable, near))}?"
    if not names:
        return "it holds none that this API key may see; check the name"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"there are {', '.join(map(printable, names[:_SHOWN]))}{more}"
