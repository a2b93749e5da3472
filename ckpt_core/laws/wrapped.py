"""Finds names that carry the prefix of a training wrapper.

The model itself has none of them where all do.
"""

from collections.abc import Iterator

from ckpt_core.laws.tensor_infos import TensorInfos
from ckpt_core.reading.base_model.wrapper_names import strip_wrappers
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.text import printable


def wrapped(infos: TensorInfos, *, severity: Severity) -> Iterator[Finding]:
    """Yield LW002 for a wrapper's prefix in the names.

    `severity` is used where every name has it, which no loader then finds. A wrapper inside of a model, such as one
    compiled block, is in the names below it only; that is LW002 as well.
    """
    carriers = [name for name in infos if strip_wrappers(name)[1]]
    every = len(carriers) == len(infos)
    if not carriers or (not every and all(name.startswith("module.") for name in carriers)):
        return
    removed = dict.fromkeys(part for name in carriers for part in strip_wrappers(name)[1])
    prefix = ", ".join(f"{part}." for part in removed)
    first = printable(carriers[0])
    message = f"{len(carriers)} of {len(infos)} names carry {prefix} of a training wrapper: {first}"
    hint = "load_state_dict does not take it away, ckpt_core.load_into does; or save the wrapped model itself"
    yield Finding("LW002", severity, message, infos[carriers[0]].path, carriers[0], hint)
