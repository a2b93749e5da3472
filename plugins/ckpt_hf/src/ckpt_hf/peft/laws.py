"""Compares a LoRA's factors with its adapter_config.json.

Source: peft `tuners/lora/config.py` and `utils/other.py` (get_pattern_key: the first pattern that fits the end of a
module's name). Adapters of other kinds are not judged: their names mean other things.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ckpt_core import Finding, Severity, printable
from ckpt_core.laws.low_rank import Factor, factors
from ckpt_core.laws.tensor_infos import TensorInfos, numbers, some

Config = Mapping[str, Any]

_FIRST = "base_model.model."


def lora_laws(config: Config, infos: TensorInfos, path: str) -> Iterator[Finding]:
    """Yield LW006 to LW009 of an adapter.

    Its config is at `path`.
    """
    if config.get("peft_type") != "LORA":
        return
    first = [factor for factor in factors(infos) if factor.first]
    yield from _ranks(config, first, path)
    yield from _targets(config, {module_of(factor) for factor in first}, path)
    yield from _magnitudes(config, first, infos, path)
    yield from _saved_modules(config, infos, path)


def module_of(factor: Factor) -> str:
    """Return the module's name in the base model."""
    return factor.module.removeprefix(_FIRST)


def _ranks(config: Config, first: list[Factor], path: str) -> Iterator[Finding]:
    """Yield LW006 for factors of another rank than configured."""
    wrong: dict[tuple[int, int], list[str]] = {}
    for factor in first:
        rank = rank_of(config, module_of(factor))
        stored = factor.info.shape[0] if factor.info.shape else 0
        if rank is None or not stored or stored == rank:
            continue
        several = config.get("target_parameters") and stored % rank == 0  # an expert each
        if not several:
            wrong.setdefault((rank, stored), []).append(factor.name)
    for (rank, stored), names in wrong.items():
        message = f"{printable(path)} says rank {rank}, and {len(names)} factors have {stored}: {printable(names[0])}"
        hint = f"copy the adapter and its config from one save; is r, or rank_pattern, meant to be {stored}?"
        yield Finding("LW006", Severity.ERROR, message, path, names[0], hint)


def rank_of(config: Config, module: str) -> int | None:
    """Return the rank that a config gives a module.

    None where it is not a plain number.
    """
    patterns = config.get("rank_pattern") or {}
    if not isinstance(patterns, dict):
        return None
    rank = next((patterns[pattern] for pattern in patterns if _fits(pattern, module)), config.get("r"))
    return rank if type(rank) is int else None


def _fits(pattern: str, module: str) -> bool:
    try:
        return re.match(rf"(.*\.)?({pattern})$", module) is not None
    except re.error:
        return False


def _targets(config: Config, modules: set[str], path: str) -> Iterator[Finding]:
    """Yield LW007 for targets without factors.

    A target may be excluded, or be in layers that are not adapted.
    """
    targets = config.get("target_modules")
    if not isinstance(targets, list) or not modules:
        return
    saved = config.get("modules_to_save") or ()
    for target in targets:
        if isinstance(target, str) and target not in saved and not any(_ends(module, target) for module in modules):
            message = f"{printable(path)}: {printable(target)} is a target, and no factor is of it"
            hint = "if the base model has such modules, the adapter lost its factors for them"
            yield Finding("LW007", Severity.WARNING, message, path, hint=hint)
    yield from _layers(config, modules, path)


def _ends(module: str, target: str) -> bool:
    return module == target or module.endswith(f".{target}")


def _layers(config: Config, modules: set[str], path: str) -> Iterator[Finding]:
    """Yield LW007 for layers to adapt without factors."""
    wanted = config.get("layers_to_transform")
    wanted = [wanted] if type(wanted) is int else wanted
    if not isinstance(wanted, list):
        return
    held = {int(number) for module in modules for number in re.findall(r"\.(\d+)\.", module)}
    lost = [layer for layer in wanted if type(layer) is int and layer not in held]
    if lost:
        message = f"{printable(path)}: layers_to_transform names {numbers(lost)}, and no factor is of it"
        yield Finding("LW007", Severity.WARNING, message, path, hint="the adapter lost its factors for those layers")


def _magnitudes(config: Config, first: list[Factor], infos: TensorInfos, path: str) -> Iterator[Finding]:
    """Yield LW008 for a DoRA without its magnitudes."""
    if config.get("use_dora") is not True:
        return
    lost = [f.module for f in first if not any(n.startswith(f"{f.module}.lora_magnitude_vector") for n in infos)]
    if lost:
        message = f"{printable(path)} says use_dora, and {printable(lost[0])} has no lora_magnitude_vector"
        hint = "PEFT starts it anew from the base model; copy the adapter again"
        yield Finding("LW008", Severity.ERROR, message, path, hint=hint)


def _saved_modules(config: Config, infos: TensorInfos, path: str) -> Iterator[Finding]:
    """Yield LW009 for missing modules that were saved whole.

    None of them is there; PEFT itself lists some that no model has.
    """
    saved = config.get("modules_to_save")
    names = [module for module in saved if isinstance(module, str)] if isinstance(saved, list) else []
    if names and not any(f".{module}." in f".{name}" for name in infos for module in names):
        message = f"{printable(path)} says that {some(names)} were saved whole, and no tensor is of them"
        hint = "PEFT leaves what the base model has, or random values, in their place; copy the adapter again"
        yield Finding("LW009", Severity.ERROR, message, path, hint=hint)
