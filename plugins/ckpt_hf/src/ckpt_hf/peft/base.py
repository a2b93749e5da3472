"""Checks that an adapter fits the base model it names.

The base must be a directory of this machine; one that is elsewhere is not asked for. Modules are compared by name, and
a name that the base does not have says something only where its siblings are there: transformers renames modules
between its versions.
"""

import os
import re
from collections.abc import Iterator, Sequence

from ckpt_core import CkptError, Finding, Severity, list_files, printable
from ckpt_core.laws.low_rank import Factor, factors
from ckpt_core.laws.tensor_infos import TensorInfos, some
from ckpt_hf.names import group
from ckpt_hf.peft.laws import module_of
from ckpt_hf.weights.by_component import components_of, read_all

_HINT = "name the model that the adapter was trained on, as base_model_name_or_path in its config"


def other_base(base: object, infos: TensorInfos, path: str) -> Iterator[Finding]:
    """Yield LW015 for an adapter that doesn't fit its base.

    Its config at `path` names `base`.
    """
    weights = _tensors_of(base)
    if not weights:
        return
    first = [factor for factor in factors(infos) if factor.first]
    held = [factor for factor in first if f"{module_of(factor)}.weight" in weights]
    for factor in held:
        partner = infos.get(factor.partner)
        info = weights[f"{module_of(factor)}.weight"]
        sizes = (partner.shape[0], factor.info.shape[1]) if partner is not None and factor.info.shape[1:] else ()
        plain = info.dtype.is_float and info.dtype.bits >= 16 and len(info.shape) > 1
        if sizes and partner is not None and partner.shape and plain and info.shape[:2] not in (sizes, sizes[::-1]):
            shape = " x ".join(map(str, info.shape))
            wanted, named = f"{sizes[0]} x {sizes[1]}", printable(str(base))
            message = f"{printable(factor.name)}: for a weight of {wanted}, and that of {named} is {shape}"
            yield Finding("LW015", Severity.ERROR, message, path, factor.name, _HINT)
            return
    yield from _beyond(base, first, held, path)


def _beyond(base: object, first: Sequence[Factor], held: Sequence[Factor], path: str) -> Iterator[Finding]:
    """Yield LW015 for factors of layers the base lacks."""
    families = {_family(factor.module) for factor in held}
    lost = [factor.module for factor in first if factor not in held and _family(factor.module) in families]
    if lost:
        message = f"{printable(path)}: {printable(str(base))} has no {some(lost)}, which has factors"
        yield Finding("LW015", Severity.ERROR, message, path, hint=_HINT)


def _family(module: str) -> str:
    return re.sub(r"\.\d+(?=\.|$)", ".*", module)


def _tensors_of(base: object) -> TensorInfos:
    """Return the tensors of a local model directory.

    Its headers are read; there are none where it is not one, or cannot be read.
    """
    if not isinstance(base, str) or not base or "://" in base or not os.path.isdir(base):
        return {}
    try:
        files = list_files(base)
        if not group(path for path in files.entries if "/" not in path):
            return {}
        weights = read_all(files)
        if any(one.weights.errors for one in weights):
            return {}
        return {name: info for component in components_of(weights) for name, info in component.tensors.infos()}
    except CkptError:
        return {}
