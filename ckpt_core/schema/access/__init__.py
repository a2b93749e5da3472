"""Abstract access to bytes: listings, checkpoints and write targets.

A listing gives the files of a place, a checkpoint its tensors, a target the place to write one to.
"""

from ckpt_core.schema.access.checkpoints import Checkpoint
from ckpt_core.schema.access.files import HEAD_BYTES, FileEntry, Files, TensorsIn
from ckpt_core.schema.access.targets import Progress, Target

__all__ = ["HEAD_BYTES", "Checkpoint", "FileEntry", "Files", "Progress", "Target", "TensorsIn"]
