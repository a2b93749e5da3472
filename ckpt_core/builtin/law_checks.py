"""Applies the laws that need only a table of tensors.

They are asked of every format's weights when a purpose is given.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ckpt_core.schema.findings import Finding, Severity

if TYPE_CHECKING:
    from ckpt_core.laws.tensor_infos import TensorInfos
    from ckpt_core.reading.checkpoints import StoredCheckpoint
    from ckpt_core.schema.manifests import Component, Manifest
    from ckpt_core.schema.verification import VerifyRequest

_WEIGHTS = ("model", "ema", "adapter")

_MASK = re.compile(r"mask|tril|triu|(min|max)_val$|attn\.bias$|attention\.bias$")
"""In the names of buffers that hold infinities on purpose: masks, and what an observer has not seen yet."""

_MATRIX = re.compile(r"(^|[._])(weight|kernel|w)$")
_ZERO_AT_FIRST = re.compile(r"pos|token_type|zero|gate|modulation|adaln|scale|lora", re.IGNORECASE)
"""In the names of weights that some models start at zero and may leave there."""


def laws_of_tables(stored: "StoredCheckpoint", request: "VerifyRequest") -> Iterator[Finding]:
    """Yield what weights lack by names, shapes and types.

    Scales' types are judged without a purpose too.
    """
    from ckpt_core.laws.quantized import scale_types

    by_config = _loaded_by_config(stored.manifest)
    for component in stored.manifest.components:
        if component.kind not in _WEIGHTS:
            continue
        infos = dict(component.tensors.infos())
        yield from scale_types(infos, inventory=request.profile is not None)
        if request.profile is not None:
            yield from _laws(component, infos, stored.manifest, by_config=by_config)


def _laws(component: "Component", infos: "TensorInfos", manifest: "Manifest", *, by_config: bool) -> Iterator[Finding]:
    from ckpt_core.laws.empty import empty
    from ckpt_core.laws.low_rank import unpaired
    from ckpt_core.laws.missing_blocks import missing_blocks
    from ckpt_core.laws.quantized import quantized
    from ckpt_core.laws.wrapped import wrapped

    yield from empty(infos)
    sure = by_config or _trained_without_wrapper(infos, manifest)
    yield from wrapped(infos, severity=Severity.ERROR if sure else Severity.WARNING)
    yield from unpaired(infos)
    yield from quantized(infos)
    if component.kind != "adapter":
        yield from missing_blocks(infos)


def _trained_without_wrapper(infos: "TensorInfos", manifest: "Manifest") -> bool:
    """Return True if an optimizer's names lack the wrapper.

    Its tool then looks for the weights under those names.
    """
    from ckpt_core.laws.optimizer import state_trees
    from ckpt_core.reading.base_model.wrapper_names import strip_wrappers

    bare = {stripped[0] for name in infos if (stripped := strip_wrappers(name))[1]}
    if not bare:
        return False
    trees = (tree for one in manifest.components if one.kind == "optimizer" for tree in state_trees(one.state))
    return any(name in bare and name not in infos for tree in trees for name in _keys(tree["state"]))


def _keys(state: object) -> Iterable[object]:
    return state if isinstance(state, dict) else ()


def for_a_purpose(
    findings: Iterable[Finding], stored: "StoredCheckpoint | None", request: "VerifyRequest"
) -> Iterator[Finding]:
    """Yield findings with the severity that the purpose demands.

    VL002 of parameters and VL003 of matrices are errors then.
    """
    for finding in findings:
        if request.profile is None or stored is None or finding.tensor is None:
            yield finding
        else:
            yield replace(finding, severity=_severity(finding, finding.tensor, stored.manifest))


def _severity(finding: Finding, name: str, manifest: "Manifest") -> Severity:
    tables = [one.tensors for one in manifest.components if name in one.tensors and one.kind in _WEIGHTS]
    if finding.code == "VL002" and not _MASK.search(name):
        if tables:
            return Severity.ERROR
        # The best value that a callback knows is infinite until there is one.
        trained = any(name in one.tensors for one in manifest.components if one.kind == "optimizer")
        return finding.severity if trained else Severity.INFO
    if finding.code != "VL003" or not _MATRIX.search(name) or _ZERO_AT_FIRST.search(name):
        return finding.severity
    shapes = [table.info(name).shape for table in tables]
    matrix = any(len(shape) == 2 and min(shape) > 1 for shape in shapes)
    return Severity.ERROR if matrix else finding.severity


def needed_and_opaque(stored: "StoredCheckpoint", request: "VerifyRequest") -> Iterator[Finding]:
    """Yield LW030 for needed components that are opaque objects.

    Such a component is one object of a class that is not read.
    """
    from ckpt_core.schema.profiles import NEEDS
    from ckpt_core.schema.roles import Profile
    from ckpt_core.schema.state import Opaque
    from ckpt_core.schema.text import printable

    if request.profile is None:
        return
    order = list(Profile)
    for component in stored.manifest.components:
        least = Profile.INFERENCE if component.kind in _WEIGHTS else NEEDS.get(component.kind)
        needed = least is not None and order.index(least) <= order.index(request.profile)
        if needed and isinstance(component.state, Opaque) and not len(component.tensors):
            what = printable(component.state.class_name)
            message = f"{printable(component.label)}: an object of {what}, of which nothing is read, and it is needed"
            hint = "save its state_dict() in place of the object"
            yield Finding("LW030", Severity.ERROR, message, hint=hint, component=component.label)


def _loaded_by_config(manifest: "Manifest") -> bool:
    """Return True if a config builds the model.

    The library looks for its names then; a script may take prefixes away.
    """
    return any(component.kind == "config" and isinstance(component.state, dict) for component in manifest.components)
