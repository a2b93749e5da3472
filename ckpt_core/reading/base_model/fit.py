"""Matches a checkpoint's tensors with those of a base model.

It says which goes where, and everything that does not fit.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from ckpt_core.reading.base_model.patch_embedding import Rearrangement, rearrangement
from ckpt_core.reading.base_model.wrapper_names import NameMap, match_names, strip_wrappers
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.tensors import TensorInfo, TensorTable

_ROOT = "model."
"""What trainers put before every name where they keep the model under a key of its own."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A tensor in both that differs in type or shape.

    So it cannot be taken for the base's; types and shapes are pairs, the checkpoint's first.
    """

    dtypes: tuple[DType, DType]
    shapes: tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Fit:
    """The match of a component with one of a base.

    All names are the base's, but where it is said.

    Attributes:
        component: Label of the checkpoint's component.
        base: Label of the base's component that it was held against.
        matched: The stored name of each tensor that both have.
        rearranged: Those of them that are stored in another order.
        taken: Tensors that the model can do without and the checkpoint lacks: the base's own are used.
        tied: Tensors that the base stores as another one, and the checkpoint does not store: (name, that one).
        left_out: Stored names that the base does not have, and the model can do without, or has under another name.
        stripped: Wrapper names that were taken off, each with how often.
        missing: Tensors that the checkpoint lacks.
        extra: Stored names that the base does not have.
        mismatched: Tensors of another shape or kind of number.
    """

    component: str
    base: str
    matched: Mapping[str, str]
    rearranged: Mapping[str, Rearrangement] = field(default_factory=dict)
    taken: tuple[str, ...] = ()
    tied: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    stripped: Mapping[str, int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    mismatched: Mapping[str, Mismatch] = field(default_factory=dict)

    @property
    def fits(self) -> bool:
        return not self.missing and not self.extra and not self.mismatched


def fit(stored: Component, base: Component, *, optional: Sequence[str] = ()) -> Fit:
    """Match a component with the base's component.

    Names, shapes and kinds of numbers are compared; no tensor is read.

    Args:
        stored: The checkpoint's component.
        base: The base's.
        optional: Globs of tensors that the model can do without: where only the base has one it is the base's, where
            only the checkpoint has it it is left out.
    """
    names = _pair(base.tensors, stored.tensors)
    rearranged, mismatched = _compare(names.pairs, stored.tensors, base.tensors)
    tied = _tied(names, base.tensors)
    lacking = [name for name in names.missing if name not in tied]
    superfluous = _superfluous(names, stored.tensors, optional)
    return Fit(
        stored.label,
        base.label,
        names.pairs,
        rearranged,
        taken=tuple(name for name in lacking if _matches(name, optional)),
        tied=tied,
        left_out=tuple(superfluous),
        stripped=names.stripped,
        missing=tuple(name for name in lacking if not _matches(name, optional)),
        extra=tuple(name for name in names.unexpected if name not in superfluous),
        mismatched=mismatched,
    )


def _pair(wanted: Iterable[str], stored: Iterable[str]) -> NameMap:
    """Pair names without their wrappers.

    A leading `model.` is taken off too, where all stored names have it and more pair so.
    """
    wanted, stored = list(wanted), list(stored)
    plain = match_names(wanted, stored)
    bare = {strip_wrappers(name)[0].removeprefix(_ROOT): name for name in stored}
    rooted = all(strip_wrappers(name)[0].startswith(_ROOT) for name in stored)
    if not rooted or len(bare) < len(stored) or not plain.unexpected:
        return plain
    inner = match_names(wanted, bare)
    if len(inner.pairs) <= len(plain.pairs):
        return plain
    pairs = {name: bare[inner_name] for name, inner_name in inner.pairs.items()}
    stripped = dict(inner.stripped)
    for name in pairs.values():
        for part in (*strip_wrappers(name)[1], _ROOT[:-1]):
            stripped[part] = stripped.get(part, 0) + 1
    return NameMap(pairs, inner.missing, [bare[name] for name in inner.unexpected], stripped)


def _compare(
    pairs: Mapping[str, str], stored: TensorTable, base: TensorTable
) -> tuple[dict[str, Rearrangement], dict[str, Mismatch]]:
    rearranged, mismatched = {}, {}
    for name, old in pairs.items():
        mine, wanted = stored.info(old), base.info(name)
        how = rearrangement(mine, wanted.shape)
        if _is_float(mine) != _is_float(wanted) or (mine.shape != wanted.shape and how is None):
            mismatched[name] = Mismatch((mine.dtype, wanted.dtype), (mine.shape, wanted.shape))
        elif how is not None:
            rearranged[name] = how
    return rearranged, mismatched


def _is_float(info: TensorInfo) -> bool:
    return info.dtype.is_float


def _tied(names: NameMap, base: TensorTable) -> dict[str, str]:
    """Return missing names that the base ties to a present tensor.

    The base itself stores them as that tensor.
    """
    firsts = {name: base.info(name).alias_of for name in names.missing}
    return {name: first for name, first in firsts.items() if first is not None and first in names.pairs}


def _superfluous(names: NameMap, stored: TensorTable, optional: Sequence[str]) -> list[str]:
    """Return unexpected stored names that may be left out.

    They are optional, or other names of a tensor that has a place in the base.
    """
    used = set(names.pairs.values())
    firsts = {stored.info(name).alias_of for name in used}
    return [
        name
        for name in names.unexpected
        if name in firsts
        or stored.info(name).alias_of in used
        or _matches(strip_wrappers(name)[0].removeprefix(_ROOT), optional)
    ]


def _matches(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
