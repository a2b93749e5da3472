"""Decides which tensors a `--dtype` casts.

Plain weights, and of the rest only what a rule names.

A rule is a glob and a type. A glob is of tensor names, and means those of weights (model, ema, adapter). A glob with a
component's label and a slash before it (`optimizer/*`, `model:critic/*.bias`) means that component, whatever it holds.
Scales of quantized tensors and an optimizer's counters keep their type under every glob; a rule that has the exact name
of one, without a wildcard, is what casts it.
"""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial

from ckpt_core.reading.casting.conversions import CASTABLE
from ckpt_core.reading.casting.scales import SCALES, scale_names
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.kinds import WEIGHTS
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.tensors import TensorInfo

Rule = tuple[str, DType]
"""A glob and the type that what fits it is cast to."""

_SHOWN = 6
"""Names that a summary has."""

NOT_WEIGHTS = "not weights"
COUNTERS = "counters"

_COUNTERS = ("step", "steps", "num_updates", "t")
"""Names of scalars of an optimizer that count: rounding 1001 to 1000 takes a step back."""


@dataclass(frozen=True, slots=True)
class Uncast:
    """Floating tensors of one component that kept their type.

    A rule would cast them if they were weights.

    Attributes:
        component: Its label.
        why: `NOT_WEIGHTS`, `SCALES` or `COUNTERS`.
        tensors: How many.
        names: The last parts of their names, each once: `exp_avg`, `weight_scale`.
        dtypes: Codes of the types that they kept.
    """

    component: str
    why: str
    tensors: int
    names: tuple[str, ...]
    dtypes: tuple[str, ...]

    @property
    def summary(self) -> str:
        """One line: `optimizer, 24 tensors (exp_avg, exp_avg_sq), not weights`."""
        shown = ", ".join(self.names[:_SHOWN]) + (", …" if len(self.names) > _SHOWN else "")
        return f"{self.component}, {self.tensors} {'tensor' if self.tensors == 1 else 'tensors'} ({shown}), {self.why}"


def cast_types(component: Component, rules: Sequence[Rule]) -> tuple[dict[str, DType], tuple[Uncast, ...]]:
    """Return the new types by name, and what was uncast.

    Uncast is what kept its type although a rule's glob has its name. Of several rules that fit the last counts.
    """
    cast: dict[str, DType] = {}
    kept: dict[str, list[tuple[str, DType]]] = {}
    scales = scale_names(component.tensors.infos()) if rules else frozenset()
    for name, info in component.tensors.infos() if rules else ():
        if info.dtype not in CASTABLE:
            continue
        why = _why_not(component, name, info, scales)
        asked = _last(rules, partial(_fits, component, name, why != ""))
        if asked is not None:
            cast[name] = asked
        elif _last(rules, partial(_sounds_like, component, name)) not in (None, info.dtype):
            kept.setdefault(why or NOT_WEIGHTS, []).append((name, info.dtype))
    return cast, tuple(_uncast(component.label, why, rows) for why, rows in kept.items())


def _why_not(component: Component, name: str, info: TensorInfo, scales: Set[str]) -> str:
    """Return why no glob casts a tensor; "" where one may."""
    if name in scales:
        return SCALES
    counts = info.numel == 1 and name.rpartition(".")[2] in _COUNTERS
    return COUNTERS if counts and component.kind not in WEIGHTS else ""


def _last(rules: Sequence[Rule], fits: Callable[[str], bool]) -> DType | None:
    return next((dtype for glob, dtype in reversed(rules) if fits(glob)), None)


def _fits(component: Component, name: str, exactly: bool, glob: str) -> bool:
    """Return True if a rule casts a tensor.

    `exactly` where only its whole name does.
    """
    label, slash, inner = glob.partition("/")
    weights = component.kind in WEIGHTS
    if exactly:
        return glob == f"{component.label}/{name}" or (weights and glob == name)
    return (weights and fnmatchcase(name, glob)) or (
        slash != "" and fnmatchcase(component.label, label) and fnmatchcase(name, inner)
    )


def _sounds_like(component: Component, name: str, glob: str) -> bool:
    """Return True if a rule seems to cast a tensor.

    A reader of the rule could think so.
    """
    return fnmatchcase(name, glob) or _fits(component, name, False, glob)


def _uncast(label: str, why: str, rows: Sequence[tuple[str, DType]]) -> Uncast:
    names = tuple(sorted({name.rpartition(".")[2] for name, _ in rows}))
    return Uncast(label, why, len(rows), names, tuple(sorted({dtype.code for _, dtype in rows})))
