"""Load: an open checkpoint whose tensors are read when they are asked for."""

from collections.abc import Mapping
from typing import Any

from ckpt_core.manager.plugin_manager import CkptPluginManager
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.verbs.opening import open_checkpoint


def load(
    ref: str | None = None,
    *,
    hints: Mapping[str, object] | None = None,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
    manager: CkptPluginManager | None = None,
) -> StoredCheckpoint:
    """Open a checkpoint; headers are read, no tensor is.

    Args:
        ref: A path, a URL, a stage name, `REF#member`, or None where hints say enough.
        hints: What narrows the search.
        format: Take it for this format; None to detect it.
        options: The format's own options.
        manager: The plugin manager; None for the process's own.

    Raises:
        CkptError: One of its kinds says what is missing, broken, unsafe or unsupported.
    """
    return open_checkpoint(ref, hints=hints, format=format, options=options, manager=manager)
