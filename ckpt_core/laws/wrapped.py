"""Names that all carry the prefix of a training wrapper, so that the model itself has none of them."""

from collections.abc import Iterator

from ckpt_core.laws.tensor_infos import TensorInfos
from ckpt_core.reading.base_model.wrapper_names import strip_wrappers
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.text import printable


def wrapped(infos: TensorInfos, *, severity: Severity) -> Iterator[Finding]:
    """LW002: a wrapper in the names; `severity` where it is in every one, which no loader then finds.

    A wrapper inside of a model, such as one compiled block, is in the names below it only; that is LW002 as well.
    """
    found = [name for name in infos if strip_wrappers(name)[1]]
    every = len(found) == len(infos)
    if not found or (not every and all(name.startswith("module.") for name in found)):
        return
    removed = dict.fromkeys(part for name in found for part in strip_wrappers(name)[1])
    prefix = ", ".join(f"{part}." for part in removed)
    first = printable(found[0])
    message = f"{len(found)} of {len(infos)} names carry {prefix} of a training wrapper: {first}"
    hint = "load_state_dict does not take it away, ckpt_core.load_into does; or save the wrapped model itself"
    yield Finding("LW002", severity, message, infos[found[0]].path, found[0], hint)
