"""Takes training wrappers' prefixes off tensor names.

A wrapped and a plain model's tensors have the same names then.

`module.` comes from DataParallel and DistributedDataParallel, `_orig_mod.` from torch.compile, `_fsdp_wrapped_module.`
from FSDP1, `_checkpoint_wrapped_module.` from activation checkpointing, `_forward_module.` from Lightning. All but the
first may stand anywhere in a name.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

_ANYWHERE = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"})
_LEADING = "module"
_MARK = "_mod"
"""Part of every one of them: nearly all names have none, and are not taken apart."""


@dataclass(slots=True)
class NameMap:
    """The pairs of stored and target names.

    Attributes:
        pairs: Stored name by target name.
        missing: Target names for which nothing is stored.
        unexpected: Stored names that have no target.
        stripped: The wrapper names that were taken off to make pairs, each with how often.
    """

    pairs: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    stripped: dict[str, int] = field(default_factory=dict)


def strip_wrappers(name: str) -> tuple[str, list[str]]:
    """Return a name without wrapper parts, and those parts.

    A `module` that is not before everything else is kept: models do have submodules of that name.
    """
    if _MARK not in name and not name.startswith(_LEADING):
        return name, []
    kept: list[str] = []
    removed: list[str] = []
    for part in name.split("."):
        if part in _ANYWHERE or (part == _LEADING and not kept):
            removed.append(part)
        else:
            kept.append(part)
    return ".".join(kept), removed


def match_names(targets: Iterable[str], stored: Iterable[str]) -> NameMap:
    """Pair equal names, then names equal without wrapper parts.

    Wrapper parts are taken off on either side.
    """
    result = NameMap()
    wanted, having = list(targets), dict.fromkeys(stored)
    for name in wanted:
        if name in having:
            result.pairs[name] = name
            del having[name]
    by_bare: dict[str, str] = {}
    for name in having:
        by_bare.setdefault(strip_wrappers(name)[0], name)
    for name in wanted:
        if name in result.pairs:
            continue
        bare, off_target = strip_wrappers(name)
        stored_name = by_bare.pop(bare, None)
        if stored_name is None:
            result.missing.append(name)
            continue
        result.pairs[name] = stored_name
        for part in (*strip_wrappers(stored_name)[1], *off_target):
            result.stripped[part] = result.stripped.get(part, 0) + 1
    used = set(result.pairs.values())
    result.unexpected = [name for name in having if name not in used]
    return result
