"""Writes plain weights under a name of minimind's.

A name that says something else than the tensors is refused.
"""

from ckpt_core import (
    Checkpoint,
    Component,
    Manifest,
    Target,
    UnsupportedFormatError,
    UsageError,
    WritePlan,
    argument,
    printable,
)
from ckpt_core.codecs import plain_state, plan_torch
from ckpt_minillm.model_shape import facts_of
from ckpt_minillm.name_checks import refuse_name
from ckpt_minillm.naming import WeightsName, parse_name
from ckpt_minillm.transformers.view import with_tied_head

_KINDS = ("model", "adapter")


def save_weights(checkpoint: Checkpoint, target: Target) -> Manifest:
    """Write one flat table of tensors.

    Every trainer of minimind reads it so.

    Raises:
        UsageError: The file's name is not one of plain weights, or contradicts the tensors.
        UnsupportedFormatError: There is more than a model, or a LoRA, and its tensors.
    """
    name = _name(target.name)
    component = _weights(checkpoint)
    facts = facts_of(component.tensors)
    refuse_name(target.name, name, facts)
    if facts.lora_only != (component.kind == "adapter"):
        raise UnsupportedFormatError(
            "minillm knows an adapter by tensors that are all named MODULE.lora.PART, and a model by others; "
            f"the tensors of this {component.kind} would be read back as the other; write them as torch"
        )
    component = with_tied_head(checkpoint, component)
    # Flat whatever it is: a LoRA's tensors are told by their names, here and in minimind.
    plan = plan_torch(target.name, [component], arrange=lambda trees: trees[component.label], of=checkpoint)
    return target.write(WritePlan((plan,)), checkpoint)


def _name(text: str) -> WeightsName:
    name = parse_name(text)
    if name is None or not name.plain:
        raise UsageError(
            f"{printable(text)}: weights of minillm are named {{stage}}_{{hidden_size}}[_moe].pth, as full_sft_512.pth"
        )
    return name


def _weights(checkpoint: Checkpoint) -> Component:
    components = checkpoint.manifest.components
    if len(components) != 1 or components[0].label not in _KINDS:
        has = ", ".join(printable(component.label) for component in components) or "none"
        reason = f"minillm holds a model, or an adapter, alone, this checkpoint has {has}"
        if not any(component.label in _KINDS for component in components):
            raise UnsupportedFormatError(f"{reason}; write it as torch")
        raise UsageError(f"{reason}; choose with {argument('components')}")
    if components[0].state is not None:
        raise plain_state(components[0], "minillm")
    return components[0]
