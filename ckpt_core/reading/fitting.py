"""What a format that holds one table of tensors can take of a checkpoint."""

from ckpt_core.errors import UnsupportedFormatError
from ckpt_core.schema.access import Checkpoint
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.text import printable


def only_tensors(checkpoint: Checkpoint, format: str) -> Component:
    """The checkpoint's only component, which has tensors and no plain state.

    Raises:
        UnsupportedFormatError: There are others, or there is plain state: the format would lose it.
    """
    components = checkpoint.manifest.components
    labels = ", ".join(printable(component.label) for component in components)
    if len(components) != 1:
        raise UnsupportedFormatError(
            f"{format} holds the tensors of one component, this checkpoint has {labels or 'none'}; "
            "choose one with --component"
        )
    if components[0].state is not None:
        raise UnsupportedFormatError(f"{format} holds tensors only, and {labels} has plain state; write it as torch")
    return components[0]
