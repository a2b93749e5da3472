"""Opens the weight files of one model.

They are joined into one table, with everything that is wrong with them. Headers are read, no tensor is. What makes the
model unreadable is an error, what it can be read in spite of a finding; `load` raises the first error, `verify` reports
all.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ckpt_core import (
    BudgetError,
    CkptError,
    Files,
    Finding,
    FormatError,
    Severity,
    State,
    TensorRef,
    TensorTable,
    UnsafeContentError,
    printable,
)
from ckpt_core.codecs import impostor, read_safetensors, without_collection
from ckpt_hf.names import WeightSet
from ckpt_hf.weights.consistency import lacking, left_out_numbers, missing, repeated, unnamed, wrong_count
from ckpt_hf.weights.index import Index, is_plain, read_index, unsafe_names

if TYPE_CHECKING:
    from ckpt_core.codecs import TorchFile

_TOGETHER = 16
"""Requests to a remote place at once: they wait for answers, and hardly need a processor."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One weight file: its table and its metadata.

    `torch` is the torch file where it is one.
    """

    path: str
    tensors: TensorTable
    metadata: Mapping[str, str]
    torch: "TorchFile | None" = None

    @property
    def stored(self) -> Iterable[str]:
        """The names that have bytes of their own.

        An index needs to name no other.
        """
        if self.torch is not None:
            return self.tensors
        return [name for name, info in self.tensors.infos() if info.alias_of is None]

    @property
    def state(self) -> State:
        """The file's state besides tensors; None for nothing."""
        return (_beside_tensors(self.torch.root) if self.torch is not None else None) or None


@dataclass(slots=True)
class Weights:
    """The opened files of a weight set.

    Attributes:
        shards: The files that could be opened, in order.
        index: The index that names them, where there is one.
        errors: What makes the model unreadable, unsafe content first.
        findings: What it can be read in spite of.
        repeats: Whether a tensor is in more than one file.
    """

    shards: list[Shard] = field(default_factory=list)
    index: Index | None = None
    errors: list[CkptError] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    repeats: bool = False

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata of the files and of the index.

        The first file with a key in `__metadata__` counts; `index` has the metadata of the index.
        """
        metadata: dict[str, Any] = {}
        for shard in self.shards:
            for key, value in shard.metadata.items():
                metadata.setdefault(key, value)
        if self.index is not None:
            metadata["index"] = dict(self.index.metadata)
        return metadata

    def confirm(self) -> None:
        """Prove what opening `.bin` files took on trust."""
        for shard in self.shards:
            if shard.torch is not None:
                shard.torch.confirm()

    def table(self) -> TensorTable:
        """Return the tensors of all files.

        The index decides where a name comes twice.
        """
        if not self.repeats:
            return TensorTable.join(shard.tensors for shard in self.shards)
        named = self.index.weight_map if self.index is not None else {}
        tables = []
        for shard in self.shards:
            mine = {name: name for name in shard.tensors if named.get(name, shard.path) == shard.path}
            tables.append(shard.tensors.renamed(mine))
        return TensorTable.join(tables)

    def state(self) -> State:
        """Return what `.bin` files hold besides tensors.

        None where that is nothing.
        """
        state: dict[Any, Any] = {}
        for shard in self.shards:
            if shard.torch is not None:
                state.update(_beside_tensors(shard.torch.root))
        return state or None


def read_weights(files: Files, weights: WeightSet) -> Weights:
    """Open the files of a weight set.

    Errors are in the result; only a place that does not answer raises.

    Raises:
        UnreachableError: A file could not be read at all.
    """
    opened = Weights()
    with without_collection():
        if weights.single is not None and not _indexes_only(files, weights):
            _open(files, weights.single, opened)
        elif weights.indexes:
            _read_indexed(files, weights.indexes[0], opened)
        else:
            _read_numbered(files, weights, opened)
        _note_repeated(opened)
    opened.errors.sort(key=lambda error: not isinstance(error, UnsafeContentError))
    return opened


def open_shard(files: Files, path: str) -> Shard:
    """Open one weight file by its name's format.

    Raises:
        CkptError: It is something else, or breaks its format's rules.
    """
    wrong = impostor(path, files.head(path), files.size(path))
    if wrong is not None:
        raise wrong
    if path.endswith(".safetensors"):
        file = read_safetensors(files, path)
        return Shard(path, file.tensors, file.metadata)
    from ckpt_core.codecs import read_torch_file

    torch = read_torch_file(files, path)
    return Shard(path, torch.tensors, {}, torch)


def _indexes_only(files: Files, weights: WeightSet) -> bool:
    """Return True if an index names only the single file.

    Then it has something to say about it.
    """
    if not weights.indexes:
        return False
    try:
        return list(read_index(files, weights.indexes[0]).shards) == [weights.single]
    except FormatError:
        return False


def _open(files: Files, path: str, weights: Weights) -> Shard | None:
    try:
        shard = open_shard(files, path)
    except (FormatError, BudgetError) as error:
        error.path = error.path or path
        weights.errors.append(error)
        return None
    weights.shards.append(shard)
    if shard.torch is not None:
        weights.findings.extend(shard.torch.findings)
    return shard


def _read_indexed(files: Files, path: str, weights: Weights) -> None:
    try:
        index = read_index(files, path)
    except FormatError as error:
        weights.errors.append(error)
        return
    weights.index = index
    weights.errors.extend(unsafe_names(index))
    _fetch_heads(files, filter(is_plain, index.shards))
    plain = [name for name in index.shards if is_plain(name)]
    weights.errors.extend(missing(files, index, [name for name in plain if name not in files.entries]))
    for name in plain:
        if name not in files.entries:
            continue
        tensors = index.shards[name]
        shard = _open(files, name, weights)
        if shard is not None:
            weights.errors.extend(lacking(index, shard.path, shard.tensors, tensors))
            weights.findings.extend(unnamed(index, shard.path, shard.stored))
    weights.findings.extend(left_out_numbers(index))


def _read_numbered(files: Files, weights: WeightSet, read: Weights) -> None:
    """Read shards that no index names.

    They are joined by number where all are there, since together they lack nothing.
    """
    problem = wrong_count(list(weights.shards.items()))
    if problem is not None:
        read.errors.append(problem)
    else:
        first, count = next(iter(weights.shards)), len(weights.shards)
        message = f"{printable(first)}: no index names these {count} shards; they are joined by their numbers"
        read.findings.append(Finding("HF013", Severity.WARNING, message, first, hint="transformers needs the index"))
    _fetch_heads(files, weights.shards)
    for path in weights.shards:
        _open(files, path, read)


def _note_repeated(weights: Weights) -> None:
    tables = [shard.tensors for shard in weights.shards]
    weights.repeats = len(set().union(*tables)) < sum(map(len, tables))
    if weights.repeats:
        weights.findings.extend(repeated({shard.path: shard.tensors for shard in weights.shards}))


def _fetch_heads(files: Files, paths: Iterable[str]) -> None:
    """Fetch the first bytes of all files at once.

    The place is remote; what fails here is asked again, and said, later.
    """
    wanted = [path for path in paths if path in files.entries]
    if "://" not in files.location.url or len(wanted) < 2:
        return
    with ThreadPoolExecutor(_TOGETHER) as pool:
        for request in [pool.submit(files.head, path) for path in wanted]:
            request.exception()


def _beside_tensors(root: State) -> dict[Any, Any]:
    if not isinstance(root, dict):
        return {}
    return {key: value for key, value in root.items() if not isinstance(value, TensorRef)}
