"""The three parts of a conversion's request.

They are the selection of the source, the base model, and how it runs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, cast

from ckpt_core.arguments import argument
from ckpt_core.errors import UsageError
from ckpt_core.reading.casting.rules import Rule
from ckpt_core.schema.dtypes import DType, dtype_named
from ckpt_core.schema.text import printable
from ckpt_core.storage.ranks.ranks import ALONE, Ranks
from ckpt_core.verbs.checked_arguments import check_arguments
from ckpt_core.verbs.reference import Reference, names_of

if TYPE_CHECKING:
    import torch

    from ckpt_core.schema.access import Progress

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The part of a checkpoint to convert, with names and types.

    One name stands for a sequence of it.

    Attributes:
        components: Labels to convert; none for all that the format holds.
        include: Globs of tensor names to keep; none for all.
        exclude: Globs of tensor names to leave out.
        rename: `OLD=NEW` for names that start with OLD; the first that fits counts.
        dtypes: `BF16` for every plain weight of 16 bits and more (of models, averages and adapters), `GLOB=F32` for
            those whose names match, `LABEL/GLOB=F32` for those of any component, such as `optimizer/*`; the last
            that fits counts. Scales of quantized tensors and counters only by their exact name. Torch's names for
            types are taken too, and its dtypes.

    Raises:
        UsageError: A value is not what it may be.
    """

    components: str | Sequence[str] = ()
    include: str | Sequence[str] = ()
    exclude: str | Sequence[str] = ()
    rename: str | Sequence[str] = ()
    dtypes: "str | DType | torch.dtype | Sequence[str | DType | torch.dtype]" = ()

    def __post_init__(self) -> None:
        check_arguments(_given(self))
        for name in ("components", "include", "exclude", "rename"):
            object.__setattr__(self, name, names_of(getattr(self, name)))
        object.__setattr__(self, "dtypes", _types_of(self.dtypes))

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the components."""
        return names_of(self.components)

    @property
    def renamed(self) -> list[tuple[str, str]]:
        """The starts of names, each with what comes in its place."""
        return [_pair(rule) for rule in names_of(self.rename)]

    @property
    def casts(self) -> list[Rule]:
        """The globs, each with its type."""
        return [_dtype_rule(rule) for rule in _types_of(self.dtypes)]


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """The model that a checkpoint was trained from.

    It is only read: the result has its names, shapes and files.

    Attributes:
        ref: What it is, as for `load`.
        models: What to convert: `main`, `ema` or `both`; None for both, or for the model where there is no average;
            the notes say so.
        optional: Globs of tensors that the model can do without, besides those that the base's format knows of: where
            the checkpoint lacks one it is the base's, where the base lacks one it is left out.

    Raises:
        UsageError: A value is not what it may be.
    """

    ref: Reference
    models: str | None = None
    optional: str | Sequence[str] = ()

    def __post_init__(self) -> None:
        check_arguments(_given(self))
        object.__setattr__(self, "optional", names_of(self.optional))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options of a conversion's run.

    Attributes:
        force: Replace what is at the destination.
        dry_run: Plan only, and write nothing.
        accept_damage: Go on where bytes of the source or the base do not match a checksum; the tensors that have
            damage are marked as tainted in what is written. Of an open source, as it was opened with.
        extract: Take the tensors out of a file whose pickle is dangerous, without running anything, to safetensors
            only. What is behind a dangerous call is left out, and the result is tainted: what lies in the file, not
            what loading it would give.
        max_memory: Most bytes to take above start-up; None for no limit.
        progress: Told of the bytes written.
        ranks: The processes that convert it together, each its share; `max_memory` is of each.

    Raises:
        UsageError: A value is not what it may be.
    """

    force: bool = False
    dry_run: bool = False
    accept_damage: bool = False
    extract: bool = False
    max_memory: int | None = None
    progress: "Progress | None" = None
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        check_arguments(_given(self))


class Plain(TypedDict, total=False):
    """The attributes of the three by themselves, for whoever types keywords."""

    components: str | Sequence[str]
    include: str | Sequence[str]
    exclude: str | Sequence[str]
    rename: str | Sequence[str]
    dtypes: "str | DType | torch.dtype | Sequence[str | DType | torch.dtype]"
    models: str | None
    optional: str | Sequence[str]
    force: bool
    dry_run: bool
    accept_damage: bool
    extract: bool
    max_memory: int | None
    progress: "Progress | None"
    ranks: Ranks


def gathered(
    selection: Selection | None,
    base: "Reference | BaseModel | None",
    run: RunOptions | None,
    plain: Mapping[str, Any],
) -> tuple[Selection, BaseModel | None, RunOptions]:
    """Return the request as its three objects, however it was given.

    Raises:
        UsageError: A keyword is none, is given beside the object that has it, or goes with a base and there is none.
    """
    left = dict(plain)
    chosen = _gathered(Selection, "selection", selection, left)
    how = _gathered(RunOptions, "run", run, left)
    onto = _onto(base, {name: left.pop(name) for name in ("models", "optional") if name in left})
    if left:
        raise UsageError(f"{printable(min(left), 60)}: convert has no such argument")
    if onto is not None and chosen.labels:
        raise UsageError(
            f"{argument('components')}: goes without {argument('base')}; with one, choose with {argument('models')}"
        )
    return chosen, onto, how


def _gathered(kind: type[T], name: str, given: T | None, left: dict[str, Any]) -> T:
    own = {field.name: left.pop(field.name) for field in fields(cast(Any, kind)) if field.name in left}
    if given is None:
        return kind(**own)
    if not isinstance(given, kind):
        raise UsageError(f"{argument(name)}: a {kind.__name__} is needed, not {printable(repr(given), 80)}")
    if own:
        raise UsageError(f"{argument(next(iter(own)))}: goes into {argument(name)}, which is given too")
    return given


def _onto(base: "Reference | BaseModel | None", own: dict[str, Any]) -> BaseModel | None:
    asked = [name for name, value in own.items() if value is not None and value != ()]
    if base is not None and not isinstance(base, BaseModel):
        return BaseModel(ref=base, **own)
    if asked and base is None:
        raise UsageError(f"{argument(asked[0])}: goes with {argument('base')}")
    if asked:
        raise UsageError(f"{argument(asked[0])}: goes into the BaseModel that is given")
    return base


def _given(asked: Any) -> dict[str, Any]:
    return {field.name: getattr(asked, field.name) for field in fields(asked)}


def _types_of(dtypes: object) -> "tuple[str | DType | torch.dtype, ...]":
    """Return one rule for types, or several, as a tuple.

    A type alone is a rule. UsageError for anything else.
    """
    if dtypes is None or isinstance(dtypes, bytes | Mapping):
        raise UsageError(f"{argument('dtypes')}: types, or rules of them, are needed, not {dtypes!r}")
    if isinstance(dtypes, str | DType) or not isinstance(dtypes, Iterable):
        return (cast("str", dtypes),)
    return tuple(dtypes)


def _pair(rule: str) -> tuple[str, str]:
    old, equals, new = rule.partition("=")
    if not equals or not old:
        raise UsageError(f"{rule!r}: a rename rule is OLD=NEW")
    return old, new


def _dtype_rule(rule: "str | DType | torch.dtype") -> Rule:
    if not isinstance(rule, str):
        return "*", dtype_named(rule)
    glob, equals, spelling = rule.rpartition("=")
    return glob if equals else "*", dtype_named(spelling)
