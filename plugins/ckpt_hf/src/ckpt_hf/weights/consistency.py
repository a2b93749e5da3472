"""Compares an index, the names of shards and their content.

One error or finding for each way they disagree.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from ckpt_core import CorruptError, Files, Finding, Severity, printable
from ckpt_hf.names import WeightName, parse
from ckpt_hf.weights.index import Index

_SHOWN = 20
"""Tensors of one file, or files, that a kind of finding names one by one; the rest are counted."""


def missing(files: Files, index: Index, names: Sequence[str]) -> Iterator[CorruptError]:
    """Yield HF001 for files of the index that are missing."""
    hint = "copy it from where the checkpoint came from"
    for name in names[:_SHOWN]:
        why = files.skipped.get(name)
        reason = f"it was left out of the listing: {why}" if why else "it is missing"
        message = f"{printable(name)}: the index names this file for {len(index.shards[name])} tensors, and {reason}"
        yield CorruptError(message, code="HF001", path=name, hint=hint)
    if len(names) > _SHOWN:
        message = f"{printable(index.path)}: {len(names) - _SHOWN} more files that it names are missing"
        yield CorruptError(message, code="HF001", path=index.path)


def lacking(index: Index, path: str, held: Collection[str], wanted: Sequence[str]) -> Iterator[CorruptError]:
    """Yield HF002 for tensors that a file lacks.

    The index looks for them in it.
    """
    names = set(held)
    lost = [tensor for tensor in wanted if tensor not in names]
    for tensor in lost[:_SHOWN]:
        message = f"{printable(path)}: the index looks for tensor {printable(tensor)} in this file, which lacks it"
        hint = f"copy this file and {printable(index.path)} from the same save"
        yield CorruptError(message, code="HF002", path=path, tensor=tensor, hint=hint)
    if len(lost) > _SHOWN:
        message = f"{printable(path)}: lacks {len(lost) - _SHOWN} more tensors that the index looks for in it"
        yield CorruptError(message, code="HF002", path=path)


def unnamed(index: Index, path: str, held: Iterable[str]) -> Iterator[Finding]:
    """Yield HF003 for tensors that the index names nowhere."""
    named = index.weight_map
    extra = [tensor for tensor in held if tensor not in named]
    for tensor in extra[:_SHOWN]:
        message = f"{printable(path)}: holds tensor {printable(tensor)}, which the index does not name"
        hint = f"is {printable(index.path)} of another save?"
        yield Finding("HF003", Severity.ERROR, message, path, tensor, hint)
    if len(extra) > _SHOWN:
        message = f"{printable(path)}: holds {len(extra) - _SHOWN} more tensors that the index does not name"
        yield Finding("HF003", Severity.ERROR, message, path)


def repeated(tables: Mapping[str, Collection[str]]) -> Iterator[Finding]:
    """Yield HF005 for tensors in more than one file.

    The finding is about the second of them.
    """
    holder: dict[str, str] = {}
    twice: dict[tuple[str, str], list[str]] = {}
    for path, held in tables.items():
        for tensor in held:
            first = holder.setdefault(tensor, path)
            if first != path:
                twice.setdefault((first, path), []).append(tensor)
    for (first, path), tensors in twice.items():
        for tensor in tensors[:_SHOWN]:
            message = f"{printable(path)}: holds tensor {printable(tensor)}, and so does {printable(first)}"
            yield Finding("HF005", Severity.ERROR, message, path, tensor, "only one of them can be meant")
        if len(tensors) > _SHOWN:
            message = f"{printable(path)}: {len(tensors) - _SHOWN} more tensors are in {printable(first)} too"
            yield Finding("HF005", Severity.ERROR, message, path)


def left_out_numbers(index: Index) -> Iterator[Finding]:
    """Yield HF008 for shards that the index leaves out.

    The others' names count them: nothing else would miss their tensors.
    """
    names = [name for name in map(parse, index.shards) if name is not None and name.count]
    for count in sorted({name.count for name in names}):
        numbers = sorted(name.number for name in names if name.count == count)
        if len(numbers) != count:
            message = (
                f"{printable(index.path)}: names {len(numbers)} files whose names say that there are {count} "
                f"({_ranges(numbers)})"
            )
            hint = "the index is of another save, or lost a part"
            yield Finding("HF008", Severity.ERROR, message, index.path, hint=hint)


def wrong_count(shards: Sequence[tuple[str, WeightName]]) -> CorruptError | None:
    """Return HF008 for a wrong number of shards.

    They are numbered files without an index; None where they are as many as their names say.
    """
    counts = sorted({name.count for _, name in shards})
    numbers = sorted(name.number for _, name in shards)
    if len(counts) == 1 and numbers == list(range(1, counts[0] + 1)):
        return None
    first = shards[0][0]
    return CorruptError(
        f"{printable(first)}: the names say that there are {' or '.join(map(str, counts))} shards, "
        f"there are {len(numbers)} ({_ranges(numbers)}) and no index",
        code="HF008",
        path=first,
        hint="copy the missing files and the index",
    )


def _ranges(numbers: list[int]) -> str:
    """Return `1-3, 5` for 1, 2, 3, 5."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in runs[:_SHOWN])
