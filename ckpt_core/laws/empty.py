"""Finds weights without elements.

DeepSpeed's ZeRO-3 leaves them where a save did not gather the parameters first.

Source: deepspeed `runtime/zero/partition_parameters.py`: a partitioned parameter is a tensor of shape [0].
"""

import re
from collections.abc import Iterator

from ckpt_core.laws.tensor_infos import TensorInfos, some
from ckpt_core.schema.findings import Finding, Severity

_PARAMETER = re.compile(r"(^|[._])(weight|bias|gamma|beta|kernel|embeddings?|lora(_embedding)?_[AB](\..*)?|\w*proj)$")
"""The ends of the names of parameters, which always have elements; a buffer that is filled later may have none."""

_OBSERVED = re.compile(r"(min_val|max_val|histogram|scale|zero_point)$")


def empty(infos: TensorInfos) -> Iterator[Finding]:
    """Yield LW001 for parameters of shape [0]."""
    empties = [name for name, info in infos.items() if info.shape == (0,) and info.dtype.is_float]
    if not empties:
        return
    wrong = [name for name in empties if _is_parameter(name, infos)]
    if 2 * len(empties) >= len(infos) and not all(_OBSERVED.search(name) for name in empties):
        wrong = empties
    if wrong:
        message = f"{len(wrong)} of {len(infos)} tensors have no element: {some(wrong)}"
        hint = (
            "saved under ZeRO-3 without gathering; save again with stage3_gather_16bit_weights_on_model_save, or run "
            "DeepSpeed's zero_to_fp32.py on the training's own checkpoint"
        )
        yield Finding("LW001", Severity.ERROR, message, infos[wrong[0]].path, wrong[0], hint)


def _is_parameter(name: str, infos: TensorInfos) -> bool:
    """Return True if a tensor must have elements.

    The bias of a layer without outputs need not.
    """
    if not _PARAMETER.search(name):
        return False
    beside = infos.get(f"{name.rpartition('.')[0]}.weight")
    return not (name.endswith("bias") and beside is not None and len(beside.shape) > 1 and 0 in beside.shape)
