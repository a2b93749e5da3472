"""Tells the keys by which torch knows a checkpoint's content."""

from ckpt_core import StoredCheckpoint
from ckpt_fsdp.dcp.flattening import Flat, flatten
from ckpt_fsdp.dcp.opening import KEYS


def keys_of(checkpoint: StoredCheckpoint, component: str | None = None) -> Flat:
    """Return the leaves of a checkpoint by flat key.

    A directory of DCP has the keys that it was saved with, any other those that it would be saved with; those of one
    component are the keys below it.
    """
    if component is not None:
        return flatten([checkpoint.component(component)], {component: ()})
    keys = checkpoint.manifest.provenance.get(KEYS, {})
    return flatten(checkpoint.manifest.components, {label: tuple(path) for label, path in keys.items()})
