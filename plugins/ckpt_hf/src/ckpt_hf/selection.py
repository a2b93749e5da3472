"""Which of the weights that lie side by side are read, and what is said about the others."""

from collections.abc import Sequence
from dataclasses import dataclass

from ckpt_core import CorruptError, Files, Finding, Severity, UsageError, printable
from ckpt_hf.names import WeightSet, group


@dataclass(frozen=True, slots=True)
class Selection:
    """The weight set that is read, and the findings about those that are not."""

    weights: WeightSet
    findings: tuple[Finding, ...]


def top_names(files: Files) -> list[str]:
    """The files at the top of the directory."""
    return [path for path in files.entries if "/" not in path]


def select(files: Files, variant: str | None = None) -> Selection:
    """Choose the weights to read: of the asked variant, else the plain ones, else the only variant there is.

    Raises:
        CorruptError: The directory holds no weights.
        UsageError: The asked variant is not there, or none was asked for and several are.
    """
    sets = group(top_names(files))
    if not sets:
        raise CorruptError(
            f"{files.location}: no weights in it (model.safetensors, pytorch_model.bin or shards with an index)",
            code="HF014",
            hint="copy the weight files too, or name the directory that has them",
        )
    chosen, findings = _choose_variant(files, sets, variant)
    if len(chosen) > 1:
        findings.append(_passed_over(chosen))
    return Selection(chosen[0], tuple(findings))


def _choose_variant(
    files: Files, sets: Sequence[WeightSet], variant: str | None
) -> tuple[list[WeightSet], list[Finding]]:
    there = list(dict.fromkeys(found.variant for found in sets))
    named = ", ".join(printable(name) or "the plain one" for name in there)
    if variant is not None:
        if variant not in there:
            raise UsageError(f"{files.location}: no weights of variant {printable(variant)}; there are: {named}")
        return [found for found in sets if found.variant == variant], []
    if "" in there:
        return [found for found in sets if not found.variant], []
    if len(there) > 1:
        raise UsageError(f"{files.location}: weights in several variants and no plain ones: {named}; choose --variant")
    message = f"{printable(sets[0].shown)}: there are only weights of variant {named}; these are read"
    finding = Finding("HF012", Severity.INFO, message, sets[0].shown, hint="name it with --variant")
    return list(sets), [finding]


def _passed_over(chosen: Sequence[WeightSet]) -> Finding:
    first, *rest = chosen
    others = ", ".join(printable(found.shown) for found in rest)
    message = f"{printable(first.shown)}: these weights are read; {others} beside it is not"
    return Finding("HF011", Severity.INFO, message, first.shown, hint="remove one of them where both are not meant")
