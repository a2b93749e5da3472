"""The files of one model opened and joined into one table, with everything that is wrong with them.

Headers are read, no tensor is. What makes the model unreadable is an error, what it can be read in spite of a finding;
`load` raises the first error, `verify` reports all.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ckpt_core import (
    BudgetError,
    CkptError,
    CorruptError,
    Files,
    Finding,
    FormatError,
    Severity,
    State,
    TensorTable,
    UnsafeContentError,
    printable,
)
from ckpt_core.codecs.lookalikes import impostor
from ckpt_core.codecs.safetensors_files import read_safetensors
from ckpt_hf.index import Index, is_plain, read_index, unsafe_names
from ckpt_hf.names import WeightSet, parse

if TYPE_CHECKING:
    from ckpt_core.codecs.torch_files import TorchFile

_SHOWN = 20
"""Tensors of one file that a kind of finding names one by one; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One weight file: its table, its metadata, and the torch file where it is one."""

    path: str
    tensors: TensorTable
    metadata: Mapping[str, str]
    torch: "TorchFile | None" = None


@dataclass(slots=True)
class Weights:
    """All that was found of a weight set.

    Attributes:
        shards: The files that could be opened, in order.
        index: The index that names them, where there is one.
        errors: What makes the model unreadable, unsafe content first.
        findings: What it can be read in spite of.
    """

    shards: list[Shard] = field(default_factory=list)
    index: Index | None = None
    errors: list[CkptError] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def metadata(self) -> dict[str, Any]:
        """The `__metadata__` of the files, the first of each key, and under `index` the metadata of the index."""
        found: dict[str, Any] = {}
        for shard in self.shards:
            for key, value in shard.metadata.items():
                found.setdefault(key, value)
        if self.index is not None and self.index.metadata:
            found["index"] = dict(self.index.metadata)
        return found

    def settle(self) -> None:
        """Prove what opening `.bin` files took on trust."""
        for shard in self.shards:
            if shard.torch is not None:
                shard.torch.settle()

    def table(self) -> TensorTable:
        """The tensors of all files; of a name that comes twice, the one that the index points to."""
        held = [name for shard in self.shards for name in shard.tensors]
        if len(held) == len(set(held)):
            return TensorTable.join(shard.tensors for shard in self.shards)
        named = self.index.weight_map if self.index is not None else {}
        tables = []
        for shard in self.shards:
            mine = {name: name for name in shard.tensors if named.get(name, shard.path) == shard.path}
            tables.append(shard.tensors.renamed(mine))
        return TensorTable.join(tables)

    def state(self) -> State:
        """What `.bin` files hold besides tensors; None where that is nothing."""
        found: dict[Any, Any] = {}
        for shard in self.shards:
            if shard.torch is not None:
                found.update(_beside_tensors(shard.torch.root))
        return found or None


def read_weights(files: Files, weights: WeightSet) -> Weights:
    """Open the files of a weight set. Errors are in the result; only a place that does not answer raises.

    Raises:
        UnreachableError: A file could not be read at all.
    """
    found = Weights()
    if weights.single is not None and not _indexes_only(files, weights):
        _open(files, weights.single, found)
    elif weights.indexes:
        _read_indexed(files, weights.indexes[0], found)
    else:
        _read_numbered(files, weights, found)
    _note_repeated(found)
    found.errors.sort(key=lambda error: not isinstance(error, UnsafeContentError))
    return found


def open_shard(files: Files, path: str) -> Shard:
    """Open one weight file, by what its name says it is.

    Raises:
        CkptError: It is something else, or breaks its format's rules.
    """
    wrong = impostor(path, files.head(path), files.size(path))
    if wrong is not None:
        raise wrong
    if path.endswith(".safetensors"):
        file = read_safetensors(files, path)
        return Shard(path, file.tensors, file.metadata)
    from ckpt_core.codecs.torch_files import read_torch_file

    torch = read_torch_file(files, path)
    return Shard(path, torch.tensors, {}, torch)


def _indexes_only(files: Files, weights: WeightSet) -> bool:
    """Whether there is an index that names the single file and no other: then it has something to say about it."""
    if not weights.indexes:
        return False
    try:
        return list(read_index(files, weights.indexes[0]).shards) == [weights.single]
    except FormatError:
        return False


def _open(files: Files, path: str, found: Weights) -> Shard | None:
    try:
        shard = open_shard(files, path)
    except (FormatError, BudgetError) as error:
        error.path = error.path or path
        found.errors.append(error)
        return None
    found.shards.append(shard)
    if shard.torch is not None:
        found.findings.extend(shard.torch.findings)
    return shard


def _read_indexed(files: Files, path: str, found: Weights) -> None:
    try:
        index = read_index(files, path)
    except FormatError as error:
        found.errors.append(error)
        return
    found.index = index
    found.errors.extend(unsafe_names(index))
    for name, tensors in index.shards.items():
        if not is_plain(name):
            continue
        if name not in files.entries:
            found.errors.append(_missing(files, name, len(tensors)))
            continue
        shard = _open(files, name, found)
        if shard is not None:
            found.errors.extend(_lacking(index, shard, tensors))
            found.findings.extend(_unnamed(index, shard))
    found.findings.extend(_left_out_numbers(index))


def _read_numbered(files: Files, weights: WeightSet, found: Weights) -> None:
    """Shards that no index names: joined by number where all are there, since together they lack nothing."""
    counts = {name.count for name in weights.shards.values()}
    numbers = sorted(name.number for name in weights.shards.values())
    first = next(iter(weights.shards))
    if len(counts) != 1 or numbers != list(range(1, max(counts) + 1)):
        claimed = " and ".join(str(count) for count in sorted(counts))
        found.errors.append(
            CorruptError(
                f"{printable(first)}: the names say that there are {claimed} shards, there are {len(numbers)} "
                f"({_ranges(numbers)}) and no index",
                code="HF008",
                path=first,
                hint="copy the missing files and the index",
            )
        )
    else:
        message = f"{printable(first)}: no index names these {len(numbers)} shards; they are joined by their numbers"
        found.findings.append(Finding("HF013", Severity.WARNING, message, first, hint="transformers needs the index"))
    for path in weights.shards:
        _open(files, path, found)


def _missing(files: Files, name: str, tensors: int) -> CorruptError:
    why = files.skipped.get(name)
    reason = f"it was left out of the listing: {why}" if why else "it is missing"
    return CorruptError(
        f"{printable(name)}: the index names this file for {tensors} tensors, and {reason}",
        code="HF001",
        path=name,
        hint="copy it from where the checkpoint came from",
    )


def _lacking(index: Index, shard: Shard, tensors: tuple[str, ...]) -> Iterator[CorruptError]:
    lacking = [tensor for tensor in tensors if tensor not in shard.tensors]
    for tensor in lacking[:_SHOWN]:
        message = (
            f"{printable(shard.path)}: the index looks for tensor {printable(tensor)} in this file, which lacks it"
        )
        yield CorruptError(message, code="HF002", path=shard.path, tensor=tensor, hint=f"compare {index.path}")
    if len(lacking) > _SHOWN:
        message = f"{printable(shard.path)}: lacks {len(lacking) - _SHOWN} more tensors that the index looks for in it"
        yield CorruptError(message, code="HF002", path=shard.path)


def _unnamed(index: Index, shard: Shard) -> Iterator[Finding]:
    """Tensors the index does not know at all; those it knows in another file are found with the repeated ones."""
    unnamed = [tensor for tensor in shard.tensors if tensor not in index.weight_map]
    for tensor in unnamed[:_SHOWN]:
        message = f"{printable(shard.path)}: holds tensor {printable(tensor)}, which the index does not name"
        yield Finding("HF003", Severity.ERROR, message, shard.path, tensor, "is the index of another save?")
    if len(unnamed) > _SHOWN:
        message = f"{printable(shard.path)}: holds {len(unnamed) - _SHOWN} more tensors that the index does not name"
        yield Finding("HF003", Severity.ERROR, message, shard.path)


def _left_out_numbers(index: Index) -> Iterator[Finding]:
    """Shards that the other names count and the index does not name: their tensors are not missed by anything else."""
    names = [name for name in map(parse, index.shards) if name is not None and name.count]
    for count in sorted({name.count for name in names}):
        numbers = sorted(name.number for name in names if name.count == count)
        if len(numbers) != count:
            message = (
                f"{printable(index.path)}: names {len(numbers)} files whose names say that there are {count} "
                f"({_ranges(numbers)})"
            )
            hint = "the index is of another save, or lost its last lines"
            yield Finding("HF008", Severity.ERROR, message, index.path, hint=hint)


def _note_repeated(found: Weights) -> None:
    holder: dict[str, str] = {}
    repeated: dict[tuple[str, str], list[str]] = {}
    for shard in found.shards:
        for tensor in shard.tensors:
            first = holder.setdefault(tensor, shard.path)
            if first != shard.path:
                repeated.setdefault((first, shard.path), []).append(tensor)
    for (first, path), tensors in repeated.items():
        for tensor in tensors[:_SHOWN]:
            message = f"{printable(path)}: holds tensor {printable(tensor)}, and so does {printable(first)}"
            found.findings.append(
                Finding("HF005", Severity.ERROR, message, path, tensor, "only one of them can be meant")
            )
        if len(tensors) > _SHOWN:
            message = f"{printable(path)}: {len(tensors) - _SHOWN} more tensors are in {printable(first)} too"
            found.findings.append(Finding("HF005", Severity.ERROR, message, path))


def _beside_tensors(root: State) -> dict[Any, Any]:
    from ckpt_core import TensorRef

    if not isinstance(root, dict):
        return {}
    return {key: value for key, value in root.items() if not isinstance(value, TensorRef)}


def _ranges(numbers: list[int]) -> str:
    """`1-3, 5` of 1, 2, 3, 5."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in runs[:_SHOWN])
