"""Plain weights written under a name of minimind's; a name that says something else than the tensors is refused."""

from collections.abc import Iterator

from ckpt_core import (
    Checkpoint,
    Component,
    Manifest,
    Target,
    UnsupportedFormatError,
    UsageError,
    WritePlan,
    printable,
)
from ckpt_core.codecs.torch_writer import plan_torch
from ckpt_minillm.facts import Facts, facts_of
from ckpt_minillm.naming import WeightsName, parse_name

_KINDS = ("model", "adapter")


def save_weights(checkpoint: Checkpoint, target: Target) -> Manifest:
    """Write one flat table of tensors, as every trainer of minimind reads it.

    Raises:
        UsageError: The file's name is not one of plain weights, or contradicts the tensors.
        UnsupportedFormatError: There is more than a model, or a LoRA, and its tensors.
    """
    name = _name(target.name)
    component = _weights(checkpoint)
    facts = facts_of(component.tensors)
    wrong = "; ".join(_contradictions(name, facts))
    if wrong:
        raise UsageError(f"{printable(target.name)}: {wrong}; choose the name that fits")
    if facts.lora_only != (component.kind == "adapter"):
        raise UnsupportedFormatError(
            "minillm knows an adapter by tensors that are all named MODULE.lora.PART, and a model by others; "
            f"the tensors of this {component.kind} would be read back as the other; write them as torch"
        )
    return target.write(WritePlan((plan_torch(target.name, [component]),)), checkpoint)


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
        raise UnsupportedFormatError(
            f"minillm holds a model, or an adapter, alone, this checkpoint has {has}; choose with --component"
        )
    if components[0].state is not None:
        raise UnsupportedFormatError(
            f"minillm holds tensors only, and this {components[0].label} has plain state; write it as torch"
        )
    return components[0]


def _contradictions(name: WeightsName, facts: Facts) -> Iterator[str]:
    """What verify would find in the file: MM001, MM002 and MM003."""
    if facts.hidden_size not in (None, name.hidden_size):
        yield f"the name says hidden size {name.hidden_size}, the tensors say {facts.hidden_size}"
    if facts.use_moe not in (None, name.moe):
        yield f"the name says {'' if name.moe else 'no '}experts, the tensors say otherwise"
    if facts.lora_only and not name.lora:
        yield "the tensors are a LoRA, and the stage has no lora in it"
