"""Locate: which place a ref or a few hints mean, and why not another."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ckpt_core.errors import UsageError
from ckpt_core.manager.plugin_manager import CkptPluginManager, get_plugin_manager
from ckpt_core.schema.locations import Query, Resolution

if TYPE_CHECKING:
    from ckpt_core.schema.roles import Profile

_log = logging.getLogger(__name__)


def locate(
    ref: str | None = None,
    *,
    hints: Mapping[str, object] | None = None,
    env: Mapping[str, str] | None = None,
    profile: "Profile | str | None" = None,
    without: Sequence[str] = (),
    manager: CkptPluginManager | None = None,
) -> Resolution:
    """Ask every plugin for places, and probe them in order.

    Args:
        ref: A path, a URL, a stage name, or None where hints say enough.
        hints: What narrows the search, by name; plugins document theirs.
        env: The environment; None for that of this process.
        profile: `inference`, `resume` or `exact-resume`: the newest checkpoint in the place that is complete for it.
        without: With a profile: kinds of components that the training had none of, such as `scheduler`.
        manager: The plugin manager; None for the process's own.

    Returns:
        The resolution, also where nothing was found; `.require()` gives the location or raises.
    """
    query = Query(ref, dict(hints or {}), profile=_profile(profile), without=tuple(without))
    if env is not None:
        query = replace(query, env=env)
    resolution = (manager or get_plugin_manager()).hooks.locate(query=query)
    _log.info("located %s, of %d places", resolution.location, len(resolution.attempts))
    return resolution


def _profile(given: "Profile | str | None") -> "Profile | None":
    if given is None:
        return None
    from ckpt_core.schema.roles import Profile

    try:
        return Profile(given)
    except ValueError:
        known = ", ".join(profile.value for profile in Profile)
        raise UsageError(f"{given!r}: not a profile; known are {known}") from None
