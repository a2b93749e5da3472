"""Load into: fill a model's parameters and buffers in place.

Else nothing is touched, and there is one clear error.

Everything that can be known is checked before the first byte is written: names, shapes, coverage, and where the bytes
lie. A read that fails after that says what had been filled; `atomic=True` stages in fresh memory and swaps instead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from ckpt_core.arguments import marked
from ckpt_core.errors import CkptError, LoadError, LoadInterruptedError, LoadRefusedError, ReplacedError
from ckpt_core.manager.plugin_manager import CkptPluginManager
from ckpt_core.reading.base_model.wrapper_names import NameMap, match_names
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.reading.coverage import check_component
from ckpt_core.reading.torch.sharded.parts import FlatShards
from ckpt_core.reading.torch.sharded.replicas import AUTO, BROADCAST, READ
from ckpt_core.reading.torch.sharded.targets import Targets, targets_of
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.text import printable
from ckpt_core.storage.files.moments import one_moment
from ckpt_core.verbs.checked_arguments import Rule, checked
from ckpt_core.verbs.reference import Reference, names_of
from ckpt_core.verbs.together.opening import load_together

if TYPE_CHECKING:
    import torch

    from ckpt_core.reading.torch.sharded.fill_shares import Reading, ShareFill


REPLICAS = Rule(lambda value: value in (AUTO, READ, BROADCAST), "auto, read or broadcast")
"""How ranks that have the same elements may come to them."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The names that were loaded, and those that were not.

    Attributes:
        source: Where from.
        component: The component that was loaded.
        matched: Names in the module that were filled.
        missing: Names in the module for which nothing is stored; they keep their values.
        unexpected: Stored names that the module does not have.
        mismatched: Names whose shapes differ: (stored, module).
        tied: Names that the module shares with one that was filled.
        cast: Names whose stored type was converted to the module's: (stored, module).
        stripped: Wrapper names taken off to match, each with how often.
        coverage: Share of the module's elements that were filled, from 0 to 1.
        tainted: Why what filled a name is not what was saved: `damaged` and the like; see `taint`.
        ranks: How many ranks filled the module together, each its own share.
        share: Bytes of tensors in this rank's memory that it read itself; 0 where nothing was filled.
        shared: How ranks that have the same elements came to them, and what that costs; "" where none do.
    """

    source: str
    component: str
    matched: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    tied: Mapping[str, str] = field(default_factory=dict)
    cast: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    stripped: Mapping[str, int] = field(default_factory=dict)
    coverage: float = 0.0
    tainted: Mapping[str, str] = field(default_factory=dict)
    ranks: int = 1
    share: int = 0
    shared: str = ""

    def summary(self) -> str:
        """One line."""
        parts = [f"{len(self.matched)} tensors matched ({self.coverage:.1%})"]
        for label in ("missing", "unexpected", "mismatched", "tied", "cast", "tainted"):
            names = getattr(self, label)
            if names:
                parts.append(f"{len(names)} {label} ({_some(list(names))})")
        if self.stripped:
            parts.append("stripped " + ", ".join(f"{part}. ({count} times)" for part, count in self.stripped.items()))
        if self.ranks > 1:
            parts.append(f"{self.share} bytes read by this of {self.ranks} ranks")
        return f"{self.source}: {', '.join(parts)}"


@checked(replicas=REPLICAS)
def load_into(
    module: "torch.nn.Module",
    ref: Reference | None = None,
    *,
    hints: Mapping[str, object] | None = None,
    component: str | None = None,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
    min_coverage: float = 1.0,
    allow_unexpected: bool | Sequence[str] = (),
    atomic: bool = False,
    accept_damage: bool = False,
    dry_run: bool = False,
    replicas: str = "auto",
    storage_options: Mapping[str, Any] | None = None,
    manager: CkptPluginManager | None = None,
) -> LoadReport:
    """Fill a module's parameters and persistent buffers from a checkpoint.

    A module that torch.distributed spreads over ranks (FSDP, HSDP, tensor parallelism) or copies to them (DDP) is
    filled by a call on each of its ranks. Each reads its own boxes of the tensors, whatever ranks and layout they were
    saved by; what one fails with, all raise.

    Args:
        module: Its tensors keep their type and device; stored ones are cast where they differ, which is reported.
        ref: What to load, as for `load`, or an open checkpoint.
        hints: As for `load`.
        component: Label of the component; None for the model, or the only one.
        format: As for `load`.
        options: As for `load`.
        min_coverage: Least share of the module's elements that must be filled, from 0 to 1.
        allow_unexpected: Stored tensors the module does not have are refused, but for names that match one of these
            globs; True allows all.
        atomic: Read everything into fresh memory and swap it in at the end, so that a failed read changes nothing.
        accept_damage: As for `load`; the report names what is `tainted`.
        dry_run: Only report what would be filled; nothing is refused, and nothing is written.
        replicas: How ranks that have the same elements come to them: each by a read of its own (`read`), from one that
            reads and sends (`broadcast`), or as asks the source for fewer bytes (`auto`): from one where the source is
            a store, or a mount over a network that several machines have; the report says which it was, in bytes.
        storage_options: For the clients of s3://, gs:// and hf://, by their own names, such as `endpoint_url`; None for
            what their configuration says.
        manager: As for `load`.

    Returns:
        The report. Zero matched tensors are an error whatever the options say.

    Raises:
        LoadRefusedError: It does not fit; the module is unchanged.
        LoadInterruptedError: A read failed, or bytes did not match a checksum, after the first byte was written
            (never with `atomic`: the module is unchanged then, and the error is CorruptError).
        ReplacedError: The checkpoint was replaced, changed or removed meanwhile. With `atomic` the module is unchanged;
            without, it may hold a part of either.
        CkptError: The checkpoint cannot be found, opened or read.
    """
    targets = targets_of(module)
    checkpoint = load_together(
        targets.ranks,
        ref,
        purpose=_purpose(targets, component, min_coverage, allow_unexpected, atomic, replicas),
        hints=hints,
        format=format,
        options=options,
        accept_damage=accept_damage,
        manager=manager,
    )
    with one_moment(checkpoint, failures_only=True):
        return _load(targets, checkpoint, component, min_coverage, allow_unexpected, atomic, dry_run, replicas)


def _purpose(targets: Targets, *arguments: object) -> str:
    """Return this rank's task as a text, equal on every rank."""
    if targets.ranks.world == 1:
        return ""
    return "\n".join([repr(arguments), *(f"{name} {list(tensor.shape)}" for name, tensor in targets.tensors.items())])


def _load(
    targets: Targets,
    checkpoint: StoredCheckpoint,
    component: str | None,
    min_coverage: float,
    allow_unexpected: bool | Sequence[str],
    atomic: bool,
    dry_run: bool,
    replicas: str,
) -> LoadReport:
    def planned() -> "tuple[LoadReport, dict[str, list[ShareFill]]]":
        part = checkpoint.component(component)
        names = match_names(targets.tensors, part.tensors)
        report = replace(_report(checkpoint, part, targets.tensors, names), ranks=targets.ranks.world)
        if dry_run:
            return report, {}
        _refuse(report, targets.tensors, min_coverage, allow_unexpected)
        _prove(checkpoint, part, set(names.pairs.values()))
        return report, {name: _fills(targets, part, name, names.pairs[name]) for name in report.matched}

    report, fills = targets.ranks.together(planned)
    if dry_run:
        return report
    reading = _fill(checkpoint, targets, fills, atomic, replicas)
    return replace(report, share=reading.nbytes, shared=reading.shared)


def _report(
    checkpoint: StoredCheckpoint, part: Component, targets: "Mapping[str, torch.Tensor | FlatShards]", names: NameMap
) -> LoadReport:
    from ckpt_core.reading.torch.memory import torch_dtype

    mismatched, cast, matched = {}, {}, []
    for name, stored in names.pairs.items():
        info, target = part.tensors.info(stored), targets[name]
        if info.shape != tuple(target.shape):
            mismatched[name] = (info.shape, tuple(target.shape))
            continue
        matched.append(name)
        if torch_dtype(info.dtype) is not target.dtype:
            cast[name] = (info.dtype.code, str(target.dtype).removeprefix("torch."))
    filled = {id(targets[name]): name for name in matched}
    tied = {name: filled[id(targets[name])] for name in names.missing if id(targets[name]) in filled}
    elements = {id(tensor): tensor.numel() for tensor in targets.values()}
    total = sum(elements.values())
    return LoadReport(
        source=str(checkpoint.location),
        component=part.label,
        matched=tuple(matched),
        missing=tuple(name for name in names.missing if name not in tied),
        unexpected=tuple(names.unexpected),
        mismatched=mismatched,
        tied=tied,
        cast=cast,
        stripped=names.stripped,
        coverage=sum(elements[key] for key in filled) / total if total else 0.0,
        tainted={
            name: cause for name in matched if (cause := checkpoint.cause(part.label, names.pairs[name])) is not None
        },
    )


def _refuse(
    report: LoadReport,
    targets: "Mapping[str, torch.Tensor | FlatShards]",
    min_coverage: float,
    allow_unexpected: bool | Sequence[str],
) -> None:
    where = f"{report.source}, {report.component}"
    if not report.matched and not report.mismatched:
        raise LoadRefusedError(
            f"{where}: no tensor of it fits the module (stored: {_some(report.unexpected)}; "
            f"module: {_some(report.missing)}); nothing was loaded",
            report=report,
        )
    if report.mismatched:
        name, (stored, wanted) = next(iter(report.mismatched.items()))
        raise LoadRefusedError(
            f"{where}: {len(report.mismatched)} shapes differ ({printable(name)}: stored {list(stored)}, "
            f"module {list(wanted)}); nothing was loaded",
            report=report,
        )
    if report.coverage < min_coverage:
        raise LoadRefusedError(
            f"{where}: fills {report.coverage:.1%} of the module, {min_coverage:.1%} is asked; "
            f"missing {_some(report.missing)}; nothing was loaded",
            report=report,
        )
    patterns = ("*",) if allow_unexpected is True else names_of(allow_unexpected or ())
    refused = [name for name in report.unexpected if not any(fnmatchcase(name, pattern) for pattern in patterns)]
    if refused:
        raise LoadRefusedError(
            f"{where}: {len(refused)} stored tensors have no place in the module ({_some(refused)}); "
            "nothing was loaded; name them in allow_unexpected if that is meant",
            report=report,
        )
    on_meta = [name for name in report.matched if targets[name].is_meta]
    if on_meta:
        raise LoadRefusedError(
            f"{where}: {len(on_meta)} tensors of the module have no memory (meta device: {_some(on_meta)}); "
            "call module.to_empty(device=…) first",
            report=report,
        )


def _prove(checkpoint: StoredCheckpoint, part: Component, wanted: set[str]) -> None:
    """Refuse, before the first write, a table that misplaces bytes."""
    for finding in check_component(checkpoint.files, part):
        if finding.tensor in wanted:
            raise LoadError(f"{finding.message}; nothing was loaded", code=finding.code, path=finding.path)
    checkpoint.confirm()


def _fills(targets: Targets, part: Component, name: str, stored: str) -> "list[ShareFill]":
    from ckpt_core.reading.torch.sharded.fill_shares import ShareFill
    from ckpt_core.reading.torch.sharded.parts import local_parts

    tensor = targets.tensors[name]
    return [ShareFill(tensor, local, part.label, stored) for local in local_parts(name, tensor)]


def _fill(
    checkpoint: StoredCheckpoint,
    targets: Targets,
    by_name: "Mapping[str, list[ShareFill]]",
    atomic: bool,
    replicas: str,
) -> "Reading":
    from ckpt_core.reading.torch.sharded.fill_shares import fill_shares

    own = targets.put_back is None
    fills = [one for some in by_name.values() for one in some]
    staged = _staged(fills) if atomic and own else []
    targets_of_stored = {one.name: name for name, some in by_name.items() for one in some}
    filled: list[str] = []
    try:
        done = lambda stored: filled.append(targets_of_stored[stored])  # noqa: E731
        reading = fill_shares(checkpoint, staged or fills, targets.ranks, done=done, replicas=replicas)
        targets.ranks.together(checkpoint.check_unchanged)
    except CkptError as error:
        if atomic or not own:
            raise
        if isinstance(error, ReplacedError):
            raise ReplacedError(f"{marked(error.message)}; {_state(filled, fills)}", code=error.code) from error
        raise LoadInterruptedError(
            f"{marked(error.message)}; {_state(filled, fills)}",
            filled=tuple(filled),
        ) from error
    for old, new in zip(fills, staged, strict=False):
        _swap(old, new)
    if targets.put_back is not None:
        targets.put_back()
    return reading


def _swap(old: "ShareFill", new: "ShareFill") -> None:
    """Put what was read aside into the module.

    What is spread over ranks keeps its memory, which others know of.
    """
    if old.part.box is None and not isinstance(old.tensor, FlatShards):
        old.tensor.data = new.part.memory
    else:
        old.part.memory.copy_(new.part.memory)


def _state(filled: Sequence[str], fills: Sequence[object]) -> str:
    """Describe the module that a stopped load has left."""
    return f"{len(filled)} of {len(fills)} tensors had been filled, the others may hold a part"


def _staged(fills: "Sequence[ShareFill]") -> "list[ShareFill]":
    """Return the fills of new memory, to be swapped in."""
    import torch

    from ckpt_core.reading.torch.new_memory import empty_tensors

    old = [one.part.memory for one in fills]
    plain = [tensor.device.type == "cpu" and tensor.is_contiguous() for tensor in old]
    kinds = [(tuple(tensor.shape), tensor.dtype) for tensor, is_plain in zip(old, plain, strict=True) if is_plain]
    new = iter(empty_tensors(kinds))
    made = [next(new) if is_plain else torch.empty_like(tensor) for tensor, is_plain in zip(old, plain, strict=True)]
    return [replace(one, part=replace(one.part, memory=memory)) for one, memory in zip(fills, made, strict=True)]


def _some(names: Sequence[str], most: int = 3) -> str:
    shown = ", ".join(printable(name, 80) for name in names[:most])
    return f"{shown}, … {len(names) - most} more" if len(names) > most else shown or "nothing"
