"""Chooses which weights of a directory are read.

Findings tell about the others beside them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ckpt_core import CorruptError, Files, Finding, FormatError, Severity, UsageError, option, printable
from ckpt_hf.names import WeightSet, group
from ckpt_hf.weights.index import read_index


@dataclass(frozen=True, slots=True)
class Selection:
    """The weight set to read as one component.

    The findings are about those that are not read.
    """

    weights: WeightSet
    findings: tuple[Finding, ...]


def top_names(files: Files) -> list[str]:
    """Return the files at the top of the directory."""
    return [path for path in files.entries if "/" not in path]


def select(files: Files, variant: str | None = None) -> list[Selection]:
    """Choose the weights of the model and its average.

    The model comes first; one of them may be absent. Of each: the asked variant, else the plain one, else the only
    variant there is.

    Raises:
        CorruptError: The directory holds no weights.
        UsageError: The asked variant is not there, or none was asked for and several are.
    """
    sets = weight_sets(files)
    if not sets:
        raise CorruptError(
            f"{files.location}: no weights in it (model.safetensors, pytorch_model.bin or shards with an index)",
            code="HF014",
            hint="copy the weight files too, or name the directory that has them",
        )
    chosen, findings = _choose_variant(files, sets, variant)
    by_component: dict[str, list[WeightSet]] = {}
    for weights in chosen:
        by_component.setdefault(weights.component, []).append(weights)
    return [
        Selection(mine[0], (*findings.get(component, ()), *([_passed_over(mine)] if len(mine) > 1 else [])))
        for component, mine in by_component.items()
    ]


def weight_sets(files: Files) -> list[WeightSet]:
    """Return the weight sets at the directory's top.

    The preferred comes first.
    """
    return _with_indexes(files, group(top_names(files)))


def _with_indexes(files: Files, sets: list[WeightSet]) -> list[WeightSet]:
    """Return the sets with misnamed indexes reassigned.

    An index of the model's name goes to the average where it names files of that and nothing else.
    """
    averages = {path: weights for weights in sets if weights.component == "ema" for path in weights.paths}
    kept = []
    for weights in sets:
        named = _named(files, weights.indexes[0]) if averages and weights.indexes and not _has_files(weights) else set()
        if named and named <= averages.keys():
            averages[min(named)].indexes += weights.indexes
        else:
            kept.append(weights)
    return kept


def _has_files(weight_set: WeightSet) -> bool:
    return weight_set.single is not None or bool(weight_set.shards)


def _named(files: Files, index: str) -> set[str]:
    """Return the files that an index names.

    None where it cannot be read, which is reported when it is opened.
    """
    try:
        return set(read_index(files, index).shards)
    except FormatError:
        return set()


def _choose_variant(
    files: Files, sets: Sequence[WeightSet], variant: str | None
) -> tuple[list[WeightSet], dict[str, list[Finding]]]:
    """Return the sets of one variant, and findings.

    Findings are by component; a variant that is asked for need not be of both.
    """
    there = list(dict.fromkeys(weights.variant for weights in sets))
    if variant is not None:
        if variant not in there:
            raise UsageError(
                f"{files.location}: no weights of variant {printable(variant)}; there are: {_spelled(there)}"
            )
        return [weights for weights in sets if weights.variant == variant], {}
    chosen: list[WeightSet] = []
    findings: dict[str, list[Finding]] = {}
    for component in dict.fromkeys(weights.component for weights in sets):
        mine = [weights for weights in sets if weights.component == component]
        variants = list(dict.fromkeys(weights.variant for weights in mine))
        if "" not in variants and len(variants) > 1:
            raise UsageError(
                f"{files.location}: weights in several variants and no plain ones: {_spelled(variants)}; "
                f"choose {option('variant')}"
            )
        wanted = "" if "" in variants else variants[0]
        chosen += [weights for weights in mine if weights.variant == wanted]
        if wanted:
            findings[component] = [_only_variant(mine[0])]
    return sorted(chosen, key=lambda weights: weights.order), findings


def _spelled(variants: Sequence[str]) -> str:
    return ", ".join(printable(name) or "the plain one" for name in variants)


def _only_variant(weight_set: WeightSet) -> Finding:
    of_variant = f"weights of variant {printable(weight_set.variant)}"
    message = f"{printable(weight_set.shown)}: there are only {of_variant}; these are read"
    return Finding("HF012", Severity.INFO, message, weight_set.shown, hint=f"name it with {option('variant')}")


def _passed_over(chosen: Sequence[WeightSet]) -> Finding:
    first, *rest = chosen
    others = ", ".join(printable(weights.shown) for weights in rest)
    message = f"{printable(first.shown)}: these weights are read; {others} beside it is not"
    return Finding("HF011", Severity.INFO, message, first.shown, hint="remove one of them where both are not meant")
