"""The `lightning-fsdp` format: model and optimizers out of DCP's files, everything else out of `meta.pt`."""

import re
from collections.abc import Iterable
from dataclasses import replace

from ckpt_core import (
    Component,
    Files,
    Finding,
    FormatMatch,
    LoadRequest,
    Manifest,
    Presence,
    Severity,
    StoredCheckpoint,
    TensorTable,
)
from ckpt_core.codecs.pieces import Pieces
from ckpt_core.codecs.steps import step_of_state
from ckpt_core.codecs.torch_components import components_of
from ckpt_core.codecs.torch_items import settler
from ckpt_fsdp.dcp.opening import Opened, open_at
from ckpt_fsdp.lightning.detection import META

_OPTIMIZER = re.compile(r"optimizer_(\d+)")
_WRAPPER = "_forward_module."
"""Before the names of a module that Lightning wrapped; its own state dict has them without."""

_SCALER = "MixedPrecision"
"""The key of the precision plugin, whose state is that of the gradient scaler."""


class LightningCheckpoint(StoredCheckpoint):
    """A directory of Lightning that is open, with what DCP's reader knows of it."""

    def __init__(self, files: Files, match: FormatMatch, manifest: Manifest, pieces: Pieces, opened: Opened) -> None:
        super().__init__(files, match, manifest, settle=pieces.settle, settle_chunk=settler(files))
        self.checksums = pieces.checksums
        self.opened = opened


def read(files: Files, match: FormatMatch, request: LoadRequest) -> LightningCheckpoint:
    """Read the metadata of DCP and `meta.pt`; no tensor.

    Raises:
        CorruptError: As the `dcp` format does.
        UnsafeContentError: PK003, one of them would run code.
    """
    opened = open_at(files, "")
    pieces = Pieces(files)
    pieces.components += map(_named, opened.components)
    pieces.findings += opened.findings
    pieces.tried("progress", META, lambda: _add_meta(pieces))
    states = [component.state for component in pieces.components if component.label == "progress"]
    manifest = pieces.checkpoint(
        match, step=step_of_state(states[0]) if states else None, metadata=dict(opened.metadata)
    ).manifest
    return LightningCheckpoint(files, match, manifest, pieces, opened)


def _named(component: Component) -> Component:
    """A component under the label it has here: Lightning numbers optimizers, and its modules have no wrapper."""
    number = _OPTIMIZER.fullmatch(component.name) if component.kind == "model" else None
    if number is not None:
        return replace(component, kind="optimizer", name=number[1] if int(number[1]) else "")
    if component.kind == "model" and len(component.tensors):
        return replace(component, tensors=_unwrapped(component.tensors))
    return component


def _unwrapped(tensors: TensorTable) -> TensorTable:
    if not all(name.startswith(_WRAPPER) for name in tensors):
        return tensors
    return tensors.renamed({name: name.removeprefix(_WRAPPER) for name in tensors})


def _add_meta(pieces: Pieces) -> None:
    file = pieces.torch(META)
    if file is None:
        message = f"{META}: missing: Lightning writes it last, and does not open this directory without it"
        hint = "the save did not end, or a copy left it out; model and optimizer can be read all the same"
        pieces.findings.append(Finding("FS002", Severity.WARNING, message, META, hint=hint))
        _say_absent(pieces, ("scheduler", "progress"))
        return
    root = file.root
    if isinstance(root, dict) and _SCALER in root:
        pieces.add(Component("scaler", TensorTable.of({}), root[_SCALER]), META)
        root = {key: value for key, value in root.items() if key != _SCALER}
    for component in components_of(root, file.tensors):
        pieces.add(_of_meta(component), META)


def _of_meta(component: Component) -> Component:
    """The state of callbacks may hold tensors; no model is kept here."""
    return replace(component, kind="progress") if component.kind == "model" else component


def _say_absent(pieces: Pieces, kinds: Iterable[str]) -> None:
    for kind in kinds:
        pieces.role(kind, Presence.ABSENT, META)
