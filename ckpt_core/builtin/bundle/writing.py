"""Plans a bundle.

The tensors of each component go into one safetensors file, plain state into JSON; assets are carried over.
"""

import json
from collections.abc import Iterator

from ckpt_core.builtin.bundle.index import INDEX, ComponentFiles, as_index, files_of
from ckpt_core.builtin.bundle.opening import COMPONENT
from ckpt_core.codecs.safetensors.writer import metadata_of, plan_safetensors
from ckpt_core.errors import UnsupportedFormatError
from ckpt_core.schema.access import Checkpoint, Target
from ckpt_core.schema.manifests import Component, Manifest
from ckpt_core.schema.plans import AssetBytes, FilePlan, Literal, WritePlan
from ckpt_core.schema.side_files.reserved_names import SUMS, TAINTED_FILE
from ckpt_core.schema.state import to_json
from ckpt_core.schema.text import printable

_STALE = (".safetensors.index.json", ".bin.index.json")
"""Endings of indexes of shards, which are none here."""


def write(checkpoint: Checkpoint, target: Target) -> Manifest:
    """Write every component of a checkpoint, and its assets.

    Raises:
        UnsupportedFormatError: safetensors has no type of an element, or an asset has the name of one of the files.
    """
    components = checkpoint.manifest.components
    named = files_of(components)
    plans = [FilePlan(INDEX, (Literal(as_index(named)),))]
    for component, one in zip(components, named, strict=True):
        plans.extend(_files(checkpoint, component, one))
    plans.extend(_assets(checkpoint, {plan.path for plan in plans}))
    return target.write(WritePlan(tuple(plans)), checkpoint)


def _files(checkpoint: Checkpoint, component: Component, one: ComponentFiles) -> Iterator[FilePlan]:
    if one.tensors is not None:
        metadata = {"format": "pt", **metadata_of(checkpoint)}
        if one.label != "model":
            metadata[COMPONENT] = one.label
        yield plan_safetensors(one.tensors, component, dict(component.tensors.infos()), metadata=metadata)
    if one.state is not None:
        text = json.dumps({"state": to_json(component.state)}, indent=1, allow_nan=False)
        yield FilePlan(one.state, (Literal(text.encode()),))


def _assets(checkpoint: Checkpoint, taken: set[str]) -> Iterator[FilePlan]:
    for asset in checkpoint.manifest.assets:
        if asset.path in (SUMS, TAINTED_FILE) or asset.path.endswith(_STALE):
            continue
        if asset.path in taken:
            raise UnsupportedFormatError(
                f"{printable(asset.path)}: a bundle has a file of its own by this name; rename the one beside the model"
            )
        yield FilePlan(asset.path, (AssetBytes(asset.path, asset.size),))
