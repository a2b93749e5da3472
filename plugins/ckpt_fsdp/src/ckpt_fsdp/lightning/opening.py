"""Opens the format `lightning-fsdp`.

Model and optimizers come out of DCP's files, everything else out of `meta.pt`.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from ckpt_core import (
    Component,
    Files,
    Finding,
    FormatMatch,
    LoadRequest,
    State,
    TensorTable,
)
from ckpt_core.layouts import NO_TENSORS, CheckpointBuilder, step_of_state
from ckpt_fsdp.dcp.opening import DcpCheckpoint, open_at
from ckpt_fsdp.lightning.meta import add_meta

_OPTIMIZER = re.compile(r"optimizer_(\d+)")
_WRAPPER = "_forward_module."
"""Before the names of a module that Lightning wrapped; its own state dict has them without."""


def read(files: Files, match: FormatMatch, request: LoadRequest) -> DcpCheckpoint:
    """Read the metadata of DCP and `meta.pt`; no tensor.

    Raises:
        CorruptError: As the `dcp` format does.
        UnsafeContentError: PK003, one of them would run code.
    """
    opened = open_at(files, "")
    builder = CheckpointBuilder(files)
    builder.components += [named for component in opened.components for named in _named(component)]
    builder.findings += map(_about, opened.findings)
    add_meta(builder)
    states = [component.state for component in builder.components if component.label == "progress"]
    manifest = builder.checkpoint(
        match, step=step_of_state(states[0]) if states else None, metadata=dict(opened.metadata)
    ).manifest
    return DcpCheckpoint(files, match, manifest, opened, builder)


def _named(component: Component) -> Iterator[Component]:
    """Yield a component under the label it has here.

    Its modules have no wrapper, and no value under an optimizer's key.
    """
    kind, name = _label(component.kind, component.name)
    if kind == "model" and len(component.tensors):
        yield replace(component, tensors=_unwrapped(component.tensors))
    elif kind == "progress" and isinstance(component.state, dict):
        values = {key: component.state[key] for key in component.state if _OPTIMIZER.fullmatch(str(key))}
        rest = {key: value for key, value in component.state.items() if key not in values}
        yield from (_stray(key, value) for key, value in values.items())
        yield from [replace(component, state=rest)] if rest else []
    else:
        yield replace(component, kind=kind, name=name)


def _stray(key: str, value: State) -> Component:
    """Return a value under an optimizer's key as a component.

    It is no optimizer, as verify says.
    """
    kind, name = _label("model", key)
    return Component(kind, NO_TENSORS, value, name)


def _about(finding: Finding) -> Finding:
    """Return a finding about a component's label here.

    It comes from DCP's reader.
    """
    if finding.component is None:
        return finding
    kind, _, name = finding.component.partition(":")
    return replace(finding, component=":".join(filter(None, _label(kind, name))))


def _label(kind: str, name: str) -> tuple[str, str]:
    """Return kind and name of a component.

    DCP's reader takes for another model what Lightning numbers as optimizers.
    """
    number = _OPTIMIZER.fullmatch(name) if kind == "model" else None
    return (kind, name) if number is None else ("optimizer", number[1] if int(number[1]) else "")


def _unwrapped(tensors: TensorTable) -> TensorTable:
    if not all(name.startswith(_WRAPPER) for name in tensors):
        return tensors
    return tensors.renamed({name: name.removeprefix(_WRAPPER) for name in tensors})
