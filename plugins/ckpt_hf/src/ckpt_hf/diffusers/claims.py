"""The claims of a diffusers config about tensors.

Source: diffusers `models/unets/`, `models/transformers/`, `models/autoencoders/`: a list of block types makes a block
each, and the first convolution has the channels of the input.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ckpt_core import Finding, Severity, printable
from ckpt_core.laws.tensor_infos import TensorInfos, numbers, stacks

Config = Mapping[str, Any]

_COUNTED = {
    "down_blocks": "down_block_types",
    "up_blocks": "up_block_types",
    "transformer_blocks": "num_layers",
    "single_transformer_blocks": "num_single_layers",
}
"""Stacks at the top of a model, each with the key that says how many blocks it has."""


def component_laws(config: Config, infos: TensorInfos, path: str) -> Iterator[Finding]:
    """Yield LW022 and LW023 for a component.

    LW022 of blocks, LW023 of convolutions at both ends.
    """
    by_prefix = stacks(infos)
    for prefix, key in _COUNTED.items():
        stack, count = by_prefix.get(prefix), _count(config.get(key))
        if stack is not None and count is not None and (stack.count != count or stack.holes):
            held = numbers(sorted(stack.blocks))
            message = f"{prefix}: blocks {held}, and {printable(path)} makes {count} by {key}"
            yield Finding("LW022", Severity.ERROR, message, path, hint="copy weights and config from one save")
    yield from _ends(config, infos, path)


def _count(value: object) -> int | None:
    if isinstance(value, list):
        return len(value)
    return value if type(value) is int else None


def _ends(config: Config, infos: TensorInfos, path: str) -> Iterator[Finding]:
    widths = config.get("block_out_channels")
    first = widths[0] if isinstance(widths, list) and widths and type(widths[0]) is int else None
    for name, wanted in {
        "conv_in.weight": (first, config.get("in_channels")),
        "conv_out.weight": (config.get("out_channels"), first),
        "encoder.conv_in.weight": (first, config.get("in_channels")),
    }.items():
        info = infos.get(name)
        if info is None or len(info.shape) != 4 or 0 in info.shape:
            continue
        if any(type(size) is int and size != held for size, held in zip(wanted, info.shape, strict=False)):
            shape = " x ".join(map(str, info.shape))
            message = f"{name}: {shape}, and {printable(path)} makes {wanted[0]} x {wanted[1]} of it"
            hint = "copy weights and config from one save"
            yield Finding("LW023", Severity.ERROR, message, path, name, hint)
