"""Turns a caller's arguments into queries, destinations and names."""

import os
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ckpt_core.arguments import argument
from ckpt_core.errors import OverwriteError, UsageError
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.schema.access import Checkpoint
from ckpt_core.schema.locations import Location, Query
from ckpt_core.schema.text import printable, redact
from ckpt_core.storage.listing import is_version_store
from ckpt_core.storage.urls import local_path
from ckpt_core.storage.versions.names import SIGN, split_version

if TYPE_CHECKING:
    from ckpt_core.schema.roles import Profile

Reference = str | os.PathLike[str] | Query | Checkpoint
"""What a verb reads: a ref as typed, a path, a query with hints of its own, or an open checkpoint."""

Destination = str | os.PathLike[str]
"""Where a verb writes: a local path, or a URL."""

_FLATTENED = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/[^/]")
"""What pathlib makes of a URL."""


def query_of(
    ref: Reference | None,
    *,
    hints: Mapping[str, object] | None = None,
    env: Mapping[str, str] | None = None,
    profile: Any = None,
    without: Iterable[str] = (),
    name: str = "ref",
) -> Query:
    """Return the question for `locate` that a reference is.

    Args:
        ref: A `Path` is a local path and never the name of a stage.
        hints: See `Query`; nothing of these where `ref` has its own, as a query or an open checkpoint does.
        env: See `Query`.
        profile: See `Query`.
        without: See `Query`.
        name: The argument that has it.

    Raises:
        UsageError: It is no reference, or is narrowed twice.
    """
    beside = {"hints": hints, "env": env, "profile": profile, "without": tuple(names_of(without))}
    given = [key for key, value in beside.items() if value]
    if isinstance(ref, Query | Checkpoint):
        if given:
            what = "a query has its own" if isinstance(ref, Query) else "an open checkpoint is not searched for"
            raise UsageError(f"{argument(given[0])}: {what}; leave it out")
        return ref if isinstance(ref, Query) else Query(ref.location.url)
    query = Query(_text(ref, name), dict(hints or {}), profile=profile, without=names_of(without))
    return query if env is None else Query(query.ref, query.hints, env, query.profile, query.without)


def stored(checkpoint: Checkpoint) -> StoredCheckpoint:
    """Return a checkpoint that is over files.

    UsageError where it is in memory, or a view of another one.
    """
    if isinstance(checkpoint, StoredCheckpoint):
        return checkpoint
    raise UsageError(f"{checkpoint.location}: an open checkpoint that has no files of its own; save it, then name that")


def destination_of(given: "Destination | Location", name: str = "destination") -> str:
    """Return a destination as text. UsageError where it is none."""
    text = _text(given, name, path_only=True)
    if not text:
        raise UsageError(f"{argument(name)}: nothing was given; give a path")
    return text


def writable_of(given: "Destination | Location", name: str = "destination") -> str:
    """Return a destination that something may be written to.

    Raises:
        UsageError: It is none.
        OverwriteError: It is a store of versions on this machine, or a version.
    """
    place = destination_of(given, name)
    refuse_version(place)
    return place


def refuse_version(place: str) -> None:
    """Refuse to write to a version, or over a local store.

    OverwriteError: versions never change.
    """
    wanted, path = split_version(place), local_path(place)
    if path is not None and os.path.lexists(os.path.join(path, SIGN)):
        raise OverwriteError(f"{redact(place)}: is a store of versions; ckpt publish adds to it, or take another place")
    if wanted is not None and is_version_store(wanted.store):
        store = redact(wanted.store)
        raise OverwriteError(
            f"{redact(place)}: names a version, and those never change; ckpt publish REF {store} makes the next one"
        )


def names_of(given: "str | Iterable[str]") -> tuple[str, ...]:
    """Return one name, or several, as a tuple."""
    return (given,) if isinstance(given, str) else tuple(given)


def profile_of(given: "Profile | str") -> "Profile":
    """Return the profile of that name."""
    from ckpt_core.schema.roles import profile_named

    return profile_named(given)


def _text(given: object, name: str, *, path_only: bool = False) -> str | None:
    if given is None and not path_only:
        return None
    if isinstance(given, str):
        return _sound(given, name)
    if isinstance(given, os.PathLike):
        path = os.fspath(given)
        if isinstance(path, str):
            return _sound(_as_path(path, name, path_only), name)
    kinds = "a path or a URL" if path_only else "a str, a Path, a Query or an open checkpoint"
    raise UsageError(f"{argument(name)}: {kinds} is needed, not {printable(repr(given), 80)}")


def _as_path(path: str, name: str, path_only: bool) -> str:
    if _FLATTENED.match(path) and not os.path.lexists(path):
        raise UsageError(f"{argument(name)}: {printable(path)}: pathlib drops a slash of a URL; give it as a str")
    return path if path_only or os.path.dirname(path) else os.path.join(os.curdir, path)


def _sound(text: str, name: str) -> str:
    if "\0" in text:
        raise UsageError(f"{argument(name)}: {redact(text)}: no path or URL has a NUL character")
    return text
