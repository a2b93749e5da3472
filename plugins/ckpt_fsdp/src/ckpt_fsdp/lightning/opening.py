"""The `lightning-fsdp` format: model and optimizers out of DCP's files, everything else out of `meta.pt`."""

import re
from dataclasses import replace

from ckpt_core import (
    Component,
    Files,
    Finding,
    FormatMatch,
    LoadRequest,
    Manifest,
    StoredCheckpoint,
    TensorTable,
)
from ckpt_core.codecs import chunk_finder
from ckpt_core.layouts import CheckpointBuilder, step_of_state
from ckpt_fsdp.dcp.opening import Opened, open_at
from ckpt_fsdp.lightning.meta import add_meta

_OPTIMIZER = re.compile(r"optimizer_(\d+)")
_WRAPPER = "_forward_module."
"""Before the names of a module that Lightning wrapped; its own state dict has them without."""


class LightningCheckpoint(StoredCheckpoint):
    """A directory of Lightning that is open, with what DCP's reader knows of it."""

    def __init__(
        self, files: Files, match: FormatMatch, manifest: Manifest, builder: CheckpointBuilder, opened: Opened
    ) -> None:
        super().__init__(files, match, manifest, confirm=builder.confirm, find_chunk=chunk_finder(files))
        self.checksums = builder.checksums
        self.opened = opened


def read(files: Files, match: FormatMatch, request: LoadRequest) -> LightningCheckpoint:
    """Read the metadata of DCP and `meta.pt`; no tensor.

    Raises:
        CorruptError: As the `dcp` format does.
        UnsafeContentError: PK003, one of them would run code.
    """
    opened = open_at(files, "")
    builder = CheckpointBuilder(files)
    builder.components += map(_named, opened.components)
    builder.findings += map(_about, opened.findings)
    add_meta(builder)
    states = [component.state for component in builder.components if component.label == "progress"]
    manifest = builder.checkpoint(
        match, step=step_of_state(states[0]) if states else None, metadata=dict(opened.metadata)
    ).manifest
    return LightningCheckpoint(files, match, manifest, builder, opened)


def _named(component: Component) -> Component:
    """A component under the label it has here; its modules have no wrapper."""
    kind, name = _label(component.kind, component.name)
    if kind == "model" and len(component.tensors):
        return replace(component, tensors=_unwrapped(component.tensors))
    return replace(component, kind=kind, name=name)


def _about(finding: Finding) -> Finding:
    """A finding of DCP's reader, about the component under the label it has here."""
    if finding.component is None:
        return finding
    kind, _, name = finding.component.partition(":")
    return replace(finding, component=":".join(filter(None, _label(kind, name))))


def _label(kind: str, name: str) -> tuple[str, str]:
    """Kind and name of what DCP's reader takes for another model: Lightning numbers optimizers."""
    number = _OPTIMIZER.fullmatch(name) if kind == "model" else None
    return (kind, name) if number is None else ("optimizer", number[1] if int(number[1]) else "")


def _unwrapped(tensors: TensorTable) -> TensorTable:
    if not all(name.startswith(_WRAPPER) for name in tensors):
        return tensors
    return tensors.renamed({name: name.removeprefix(_WRAPPER) for name in tensors})
