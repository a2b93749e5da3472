"""Locate: find the place that a ref means, and why no other.

A few hints serve in place of a ref.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ckpt_core.log import Logger
from ckpt_core.manager.plugin_manager import CkptPluginManager, get_plugin_manager
from ckpt_core.schema.access import Checkpoint
from ckpt_core.schema.locations import Resolution
from ckpt_core.verbs.checked_arguments import checked
from ckpt_core.verbs.reference import Reference, query_of

if TYPE_CHECKING:
    from ckpt_core.schema.roles import Profile

_log = Logger(__name__)


@checked()
def locate(
    ref: Reference | None = None,
    *,
    hints: Mapping[str, object] | None = None,
    env: Mapping[str, str] | None = None,
    profile: "Profile | str | None" = None,
    without: Sequence[str] = (),
    storage_options: Mapping[str, object] | None = None,
    explain: bool = False,
    manager: CkptPluginManager | None = None,
) -> Resolution:
    """Ask every plugin for places, and probe them in order.

    Args:
        ref: A path, a URL, a stage name, a `Query`, an open checkpoint, or None where hints say enough.
        hints: What narrows the search, by name; plugins document theirs.
        env: The environment; None for that of this process.
        profile: `inference`, `resume` or `exact-resume`: the newest checkpoint in the place that is complete for it.
        without: With a profile: kinds of components that the training had none of, such as `scheduler`.
        storage_options: For the clients of s3://, gs:// and hf://, by their own names, such as `endpoint_url`; None for
            what their configuration says.
        explain: `.explain()` will be shown: plugins may propose what else the place has, where that costs a question.
        manager: The plugin manager; None for the process's own.

    Returns:
        The resolution, also where nothing was found; `.require()` gives the location or raises.

    Raises:
        UsageError: An argument is not what it may be.
    """
    query = query_of(ref, hints=hints, env=env, profile=profile, without=without)
    query = replace(query, explain=True) if explain else query
    if isinstance(ref, Checkpoint):
        return Resolution(query, ref.location, (), ("open already",))
    resolution = (manager or get_plugin_manager()).hooks.locate(query=query)
    _log.info("located %s, of %d places", resolution.location, len(resolution.attempts))
    return resolution
