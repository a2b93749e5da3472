"""Opens Megatron's distributed checkpoints.

Tensors come out of DCP's files, those of the optimizer apart; arguments, counters and schedule out of `common.pt`.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from ckpt_core import (
    Asset,
    Component,
    Files,
    Finding,
    FormatMatch,
    LoadRequest,
    Presence,
    Severity,
)
from ckpt_core.layouts import CheckpointBuilder, components_of, step_of_state
from ckpt_fsdp.dcp.opening import DcpCheckpoint, open_at
from ckpt_fsdp.megatron_dist.detection import COMMON, METADATA

_OPTIMIZER = ("optimizer.", "chained_")


def read(files: Files, match: FormatMatch, request: LoadRequest) -> DcpCheckpoint:
    """Read the metadata of DCP and `common.pt`; no tensor.

    Raises:
        CorruptError: As the `dcp` format does.
        UnsafeContentError: PK003, one of them would run code.
    """
    opened = open_at(files, "")
    builder = CheckpointBuilder(files)
    for component in opened.components:
        for part in _split(component):
            builder.add(part)
    builder.findings += opened.findings
    step = builder.tried("progress", COMMON, partial(_add_common, builder))
    used = {COMMON, METADATA, ".metadata", *opened.files}
    assets = [Asset(path, entry.size) for path, entry in files.entries.items() if path not in used]
    manifest = builder.checkpoint(match, step=step, assets=assets, metadata=dict(opened.metadata)).manifest
    return DcpCheckpoint(files, match, manifest, opened, builder)


def _split(component: Component) -> Iterator[Component]:
    """Yield a model and its optimizer apart.

    The optimizer's tensors are under names of their own beside the model's.
    """
    moments = [name for name in component.tensors if name.startswith(_OPTIMIZER)]
    if component.label != "model" or not moments:
        yield component
        return
    weights = {name: name for name in component.tensors if name not in set(moments)}
    yield replace(component, tensors=component.tensors.renamed(weights))
    yield Component("optimizer", component.tensors.renamed({name: name for name in moments}))


def _add_common(builder: CheckpointBuilder) -> int | None:
    """Add the state that all ranks share; return the step.

    PT002 where its file is missing.
    """
    file = builder.torch(COMMON)
    if file is None:
        message = f"{COMMON}: missing: Megatron loads nothing without it"
        hint = "copy the checkpoint again; the weights can be read all the same"
        builder.findings.append(Finding("PT002", Severity.ERROR, message, COMMON, hint=hint, component="progress"))
        for kind in ("scheduler", "progress"):
            builder.role(kind, Presence.ABSENT, COMMON)
        return None
    taken = {component.label for component in builder.components}
    for component in components_of(file.root, file.tensors):
        named = replace(component, name="common") if component.label in taken else component
        builder.add(named, COMMON)
    return step_of_state(file.root)
