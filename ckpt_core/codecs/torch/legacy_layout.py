"""Reads the layout of torch.save before 1.6.

It is five pickles, then for each storage its number of elements and its bytes.

The pickles are a magic number, a protocol version, facts about the machine, the object, and the keys of the storages.
Elements are little-endian whatever the machine was.

Source: torch, `torch/serialization.py` (_legacy_save, _legacy_load) and `torch/csrc/serialization.cpp`
(THPStorage_writeFileRaw, which swaps bytes on big-endian machines).
"""

from collections.abc import Sequence
from typing import Any

from ckpt_core import knobs
from ckpt_core.codecs.heads.torch import LEGACY_MAGIC, TorchKind
from ckpt_core.codecs.pickle.reader import Pickle, read_scanned
from ckpt_core.codecs.pickle.records import SafeDict, StorageRecord
from ckpt_core.codecs.pickle.scan import Scan, TruncatedError, scan
from ckpt_core.codecs.pickle.unpickle import Built, build
from ckpt_core.codecs.torch.file import TorchFile
from ckpt_core.codecs.torch.tables import StorageError, tensor_table
from ckpt_core.codecs.unread_bytes import LOOKED_AT, what_is
from ckpt_core.errors import BudgetError, CorruptError
from ckpt_core.schema.access import Files
from ckpt_core.schema.byte_consumers import Checksum, Noted
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.schema.text import printable

_PROTOCOL = 1001
_COUNT = 8
# The pickles of most files fit; what they do not need is read of the storages in vain.
_FIRST_READ = 1 << 20


def read_legacy(files: Files, path: str) -> TorchFile:
    """Read a legacy torch file.

    `reader.read_torch_file` says what is raised.
    """
    reader = _Reader(files, path)
    _check_prelude(path, [reader.next_value().value for _ in range(3)])
    pickle = read_scanned(reader.next_scan(), path=path)
    places = _places(path, reader.next_value().value, pickle, reader.position)
    end = max((offset + length for offset, length in places.values()), default=reader.position)
    findings = (*pickle.findings, *_end_findings(files, path, end))

    def place(storage: StorageRecord) -> tuple[int, int]:
        if storage.key not in places:
            raise StorageError(f"its storage {printable(storage.key)} is missing")
        return places[storage.key]

    return TorchFile(
        path=path,
        kind=TorchKind.LEGACY,
        root=pickle.tree.root,
        tensors=tensor_table(pickle.tree.tensors, path=path, place=place, little_endian=True),
        globals=pickle.globals,
        findings=findings,
        metadata={"byte_order": "little", "attributes": pickle.tree.attributes},
        sharded=pickle.tree.sharded,
        _prove=lambda: _check_counts(files, path, [(places[key][0], pickle.storages[key]) for key in places]),
        _checksums=_no_checksums,
    )


class _Reader:
    """Reads one pickle after the other, in few bytes.

    A store far away is asked for 1 MiB, 2 MiB, ….
    """

    def __init__(self, files: Files, path: str) -> None:
        self.files = files
        self.path = path
        self.size = files.size(path)
        self.data = files.head(path)
        self.position = 0

    def next_scan(self) -> Scan:
        while True:
            try:
                scanned = scan(self.data, self.position, path=self.path, available=self.size)
            except TruncatedError as error:
                self._grow(error.needed)
            else:
                self.position = scanned.end
                return scanned

    def next_value(self) -> Built:
        return build(self.next_scan(), path=self.path)

    def _grow(self, needed: int) -> None:
        limit = knobs.header_limit()
        if needed > limit or len(self.data) >= limit:
            raise BudgetError(
                f"{printable(self.path)}: its pickle has more than {limit} bytes; "
                "raise CKPT_HEADER_LIMIT if you trust the file",
                code="PK002",
                path=self.path,
            )
        length = min(max(needed, 2 * len(self.data), _FIRST_READ), limit, self.size)
        self.data += self.files.read(self.path, len(self.data), length - len(self.data))


def _check_prelude(path: str, values: Sequence[Any]) -> None:
    magic, protocol, facts = values
    if type(magic) is not int or magic != LEGACY_MAGIC or type(protocol) is not int or protocol != _PROTOCOL:
        raise _corrupt(path, "its magic number or protocol version is wrong")
    if not isinstance(facts, SafeDict):
        raise _corrupt(path, "what it says of the machine it was written on is damaged")


def _places(path: str, keys: Any, pickle: Pickle, start: int) -> dict[str, tuple[int, int]]:
    """Return the offset and length, in bytes, of each storage."""
    if type(keys) is not list or not all(type(key) is str for key in keys) or len(set(keys)) != len(keys):
        raise _corrupt(path, "the list of its storages is damaged")
    places = {}
    for key in keys:
        storage = pickle.storages.get(key)
        if storage is None:
            raise _corrupt(path, f"its storage {printable(key)} belongs to no tensor")
        length = storage.numel * storage.itemsize
        places[key] = (start + _COUNT, length)
        start += _COUNT + length
    return places


def _end_findings(files: Files, path: str, end: int) -> list[Finding]:
    size = files.size(path)
    if end > size:
        raise _corrupt(path, f"its storages end at byte {end}, the file has {size} (truncated?)")
    if end == size:
        return []
    rest = what_is(files.read(path, end, min(size - end, LOOKED_AT)), size - end)
    message = f"something follows the last storage ({rest}); torch ignores it, and a conversion leaves it out"
    return [Finding("TF007", Severity.WARNING, message, path)]


def _check_counts(files: Files, path: str, placed: Sequence[tuple[int, StorageRecord]]) -> None:
    ranges = [ByteRange(path, offset - _COUNT, _COUNT) for offset, _ in placed]
    for (_, storage), count in zip(placed, files.read_many(ranges), strict=True):
        numel = int.from_bytes(count, "little", signed=True)
        if numel != storage.numel:
            raise CorruptError(
                f"{printable(path)}: storage {printable(storage.key)} has {numel} elements by its own header, "
                f"{storage.numel} by the pickle; get the file again",
                code="TF003",
                path=path,
            )


def _no_checksums(file: TorchFile) -> list[Checksum]:
    message = "a legacy file has no checksums: changed bytes cannot be told"
    return [Noted(Finding("TF008", Severity.INFO, message, file.path))]


def _corrupt(path: str, reason: str) -> CorruptError:
    return CorruptError(
        f"{printable(path)}: not a sound torch file: {reason}; get the file again", code="TF001", path=path
    )
