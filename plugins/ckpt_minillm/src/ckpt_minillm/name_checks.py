"""Checks that name, tensors and request of a file agree."""

from collections.abc import Iterator, Mapping

from ckpt_core import Finding, Severity, UsageError, printable
from ckpt_minillm.model_shape import Facts, contradictions, experts
from ckpt_minillm.naming import WeightsName
from ckpt_minillm.search_query import shape_hints


def name_findings(path: str, name: WeightsName, facts: Facts) -> Iterator[Finding]:
    """Yield MM001 and MM002 where the name contradicts tensors."""
    # A stage that no trainer is known to write may be somebody else's habit: `qwen_7.pth` need not be 7 wide.
    severity = Severity.ERROR if name.known else Severity.WARNING
    if facts.hidden_size not in (None, name.hidden_size):
        message = f"{path}: the name says hidden size {name.hidden_size}, the tensors say {facts.hidden_size}"
        yield Finding(
            "MM001", severity, message, path, hint="rename it to what it holds, or find the file it should be"
        )
    if facts.use_moe not in (None, name.moe):
        message = f"{path}: the name says {experts(name.moe)}, the tensors say {experts(not name.moe)}"
        yield Finding("MM002", severity, message, path, hint="rename it with or without _moe")


def refuse_contradictions(path: str, facts: Facts, hints: Mapping[str, object]) -> None:
    """Raise UsageError if hints contradict the tensors."""
    wrong = "; ".join(contradictions(facts, shape_hints(hints)))
    if wrong:
        raise UsageError(
            f"{printable(path)}: {wrong}, as was asked for; ask for what the file has, or find the other file"
        )


def refuse_name(file: str, name: WeightsName, facts: Facts) -> None:
    """Raise UsageError if a new name contradicts the tensors."""
    wrong = []
    if facts.hidden_size not in (None, name.hidden_size):
        wrong.append(f"the name says hidden size {name.hidden_size}, the tensors say {facts.hidden_size}")
    if facts.use_moe not in (None, name.moe):
        wrong.append(f"the name says {experts(name.moe)}, the tensors say otherwise")
    if facts.lora_only and not name.lora:
        wrong.append("the tensors are a LoRA, and the stage has no lora in it")
    if wrong:
        raise UsageError(f"{printable(file)}: {'; '.join(wrong)}; choose the name that fits")
