"""Load: an open checkpoint whose tensors are read when they are asked for."""

from collections.abc import Mapping
from typing import Any

from ckpt_core.manager.plugin_manager import CkptPluginManager
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.verbs.opening import Checks, open_checkpoint


def load(
    ref: str | None = None,
    *,
    hints: Mapping[str, object] | None = None,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
    accept_damage: bool = False,
    manager: CkptPluginManager | None = None,
) -> StoredCheckpoint:
    """Open a checkpoint; headers are read, no tensor is.

    Args:
        ref: A path, a URL, a stage name, `REF#member`, or None where hints say enough.
        hints: What narrows the search.
        format: Take it for this format; None to detect it.
        options: The format's own options.
        accept_damage: Go on where bytes do not match a checksum. Every tensor is read once to find out; those that
            have damage are in `manifest.tainted`, and whatever is written of them stays marked. Without it reading
            such bytes raises CorruptError.
        manager: The plugin manager; None for the process's own.

    Raises:
        CkptError: One of its kinds says what is missing, broken, unsafe or unsupported.
    """
    return open_checkpoint(
        ref, hints=hints, format=format, options=options, manager=manager, checks=Checks(accept=accept_damage)
    )
