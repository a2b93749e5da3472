"""Locate: which place a ref or a few hints mean, and why not another."""

import logging
from collections.abc import Mapping

from ckpt_core.manager.plugin_manager import CkptPluginManager, get_plugin_manager
from ckpt_core.schema.locations import Query, Resolution

_log = logging.getLogger(__name__)


def locate(
    ref: str | None = None,
    *,
    hints: Mapping[str, object] | None = None,
    env: Mapping[str, str] | None = None,
    manager: CkptPluginManager | None = None,
) -> Resolution:
    """Ask every plugin for places, and probe them in order.

    Args:
        ref: A path, a URL, a stage name, or None where hints say enough.
        hints: What narrows the search, by name; plugins document theirs.
        env: The environment; None for that of this process.
        manager: The plugin manager; None for the process's own.

    Returns:
        The resolution, also where nothing was found; `.require()` gives the location or raises.
    """
    query = Query(ref, dict(hints or {})) if env is None else Query(ref, dict(hints or {}), env)
    resolution = (manager or get_plugin_manager()).hooks.locate(query=query)
    _log.info("located %s, of %d places", resolution.location, len(resolution.attempts))
    return resolution
