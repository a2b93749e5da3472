"""The type that a config names for the weights.

Its key is `dtype`, or `torch_dtype` before transformers 4.56. transformers loads weights in it, and its
`save_pretrained` sets it to the type of the weights that it writes.

Source: transformers `modeling_utils.py` (save_pretrained, _get_dtype) and `configuration_utils.py`.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from ckpt_core import Component, DType, State, TensorInfo, scale_names

TYPES = {"float64": DType.F64, "float32": DType.F32, "float16": DType.F16, "bfloat16": DType.BF16}
"""What a config calls the types that weights are computed in."""

_NAMES = {dtype: name for name, dtype in TYPES.items()}
_KEYS = ("dtype", "torch_dtype")


def said_type(config: State) -> str | None:
    """Return the name of the config's type.

    None where it says none that we know.
    """
    said = config.get("dtype", config.get("torch_dtype")) if isinstance(config, dict) else None
    return said if isinstance(said, str) and said in TYPES else None


def plain_outlines(weights: Component) -> dict[str, TensorInfo]:
    """Return the tensors that a config's type is about.

    They are all but the scales of quantized ones.
    """
    scales = scale_names(weights.tensors.infos())
    return {name: info for name, info in weights.tensors.infos() if name not in scales}


def type_of(infos: Iterable[TensorInfo]) -> DType | None:
    """Return the type of the most elements.

    Only types that a config can name count; the result is None without any.
    """
    counts: Counter[DType] = Counter()
    for info in infos:
        if info.dtype in _NAMES:
            counts[info.dtype] += info.numel
    return max(counts, key=lambda dtype: counts[dtype], default=None)


def with_type(config: dict[Any, State], dtype: DType) -> dict[Any, State]:
    """Return the config with another type.

    Each of its keys for the type is set.
    """
    return {key: _NAMES[dtype] if key in _KEYS else value for key, value in config.items()}


def edited(text: bytes, wanted: dict[Any, State]) -> bytes | None:
    """Return a config's bytes with only its type changed.

    None where that is not all there is to it.

    Args:
        text: The file.
        wanted: What it is to say.
    """
    for key in _KEYS:
        if key in wanted:
            value = json.dumps(wanted[key]).encode()
            places = list(re.finditer(rb'"%s"\s*:\s*("[a-z0-9]*")' % key.encode(), text))
            tried = (text[: place.start(1)] + value + text[place.end(1) :] for place in places)
            text = next((one for one in tried if _says(one, key, wanted[key])), text)
    return text if json.loads(text) == wanted else None


def _says(text: bytes, key: str, value: State) -> bool:
    """Return True if the outermost key has the value.

    A key of the same name further in does not count.
    """
    return bool(json.loads(text).get(key) == value)
