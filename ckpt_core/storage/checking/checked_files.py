"""A listing that compares bytes with their checksums.

They are compared in the pass that reads them, with every checksum that is known.

What is known comes from two sides. A seal is read from the listing itself, before the first tensor is; what was read
until then, to open the checkpoint, is proved at that moment. The checksums of records are told by whoever knows the
format, with `expect`. A range is proved once, from whatever reads cover it; what was only begun is read to its end by
`finish`, which every verb calls before it gives its answer.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Lock
from typing import TYPE_CHECKING

from ckpt_core.errors import CorruptError
from ckpt_core.schema.access import Files, TensorsIn
from ckpt_core.schema.byte_consumers import BLOCK, Sum
from ckpt_core.schema.findings import Finding
from ckpt_core.schema.tensors import ByteRange, under
from ckpt_core.schema.text import printable
from ckpt_core.storage.buffers import borrowed
from ckpt_core.storage.files.wrapped import WrappedFiles

if TYPE_CHECKING:
    from ckpt_core.schema.side_files.seals import Seal
    from ckpt_core.storage.checking.proved_ranges import Blocks, Record


class _File:
    """The checksums of one file, and its early reads.

    Those are the blocks that were read before anything was known.
    """

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.starts: list[int] = []
        self.blocks: Blocks | None = None
        self.opened: set[int] = set()


class Ledger:
    """The checksums of all files of a listing.

    Listings below it are covered too; all paths are those of the whole.
    """

    def __init__(self, whole: Files, *, seals: bool, accept: bool) -> None:
        self.whole, self.seals, self.accept = whole, seals, accept
        self.files: dict[str, _File] = {}
        self.sealed: set[str] = set()
        self.damage: list[tuple[Finding, ByteRange, bool]] = []
        self.tensors_in: TensorsIn | None = None
        self.in_shares = False
        self._lock = Lock()

    def file(self, path: str) -> _File:
        found = self.files.get(path)
        if found is None:
            with self._lock:
                found = self.files.setdefault(path, _File())
        return found

    def seal(self, files: Files, prefix: str) -> None:
        """Take in the seal of a listing, once.

        CorruptError where it cannot be read or is not of these files.
        """
        with self._lock:
            if prefix in self.sealed or not self.seals:
                return
            self.sealed.add(prefix)
        from ckpt_core.storage.checking.proved_ranges import Blocks  # with its digests, which a listing has no need of

        seal = self._read(files)
        if seal is None:
            return
        from ckpt_core.schema.side_files.seal_findings import stale_files

        stale = {finding.path or "": finding for finding in stale_files(files, seal)}
        for path, finding in stale.items():
            self._stale(finding, under(prefix, path))
        for path, sealed in seal.files.items():
            if path in files.entries and path not in stale:
                file = self.file(under(prefix, path))
                file.blocks = Blocks(sealed)
                for number in sorted(file.opened):
                    self.finish_block(under(prefix, path), file.blocks, number)

    def _read(self, files: Files) -> "Seal | None":
        from ckpt_core.storage.files.moments import one_moment
        from ckpt_core.storage.sealing import read_seal

        try:
            with one_moment(files, failures_only=True):
                return read_seal(files)
        except CorruptError as error:
            if not self.accept:
                raise
            self._stale(Finding.of_error(error), "")
            return None

    def expect(self, sums: Iterable[Sum], prefix: str) -> None:
        from ckpt_core.storage.checking.proved_ranges import Record

        for known in sums:
            file = self.file(under(prefix, known.path))
            with self._lock:
                at = bisect_left(file.starts, known.start)
                if known.end > known.start and (at == len(file.starts) or file.starts[at] != known.start):
                    file.starts.insert(at, known.start)
                    file.records.insert(at, Record(known))

    def see(self, path: str, offset: int, data: memoryview | bytes) -> None:
        """Bytes that were read."""
        if not len(data):
            return
        file, end, view = self.file(path), offset + len(data), memoryview(data)
        if file.blocks is None:
            file.opened.update(range(offset // BLOCK, (end - 1) // BLOCK + 1))
        else:
            self._see_blocks(path, file.blocks, offset, view)
        for record in self._records(file, offset, end):
            first, last = max(offset, record.start), min(end, record.end)
            if not record.proved and not record.wrong:
                record.see(first, view[first - offset : last - offset])
                if record.wrong:
                    self._found(path, record)
            elif record.wrong:
                self._found(path, record)

    def prove(self, path: str, start: int, end: int) -> None:
        """Read the unproved rest of a stretch.

        It is of all that has bytes between two offsets.
        """
        file = self.file(path)
        for number in file.blocks.unproved(start, end) if file.blocks is not None else ():
            assert file.blocks is not None
            self.finish_block(path, file.blocks, number)
        for record in self._records(file, start, end):
            if not record.proved:
                self.finish_record(path, record)

    def finish(self) -> None:
        """Prove what was begun, of every file."""
        for path, file in sorted(self.files.items()):
            if file.blocks is not None:
                for number in file.blocks.begun():
                    self.finish_block(path, file.blocks, number)
            for record in file.records:
                if record.begun:
                    self.finish_record(path, record)

    def _see_blocks(self, path: str, blocks: "Blocks", offset: int, data: memoryview) -> None:
        reader = None if self.in_shares else self._reader(path)
        for number in blocks.unproved(offset, offset + len(data)):
            start, end = blocks.bounds(number)
            first, last = max(start, offset), min(end, offset + len(data))
            if number not in blocks.wrong:
                blocks.see(number, first, data[first - offset : last - offset], reader)
            if number in blocks.wrong:
                self._unlike(path, blocks, number)

    def finish_block(self, path: str, blocks: "Blocks", number: int) -> None:
        if number not in blocks.wrong:
            blocks.finish(number, self._reader(path))
        if number in blocks.wrong:
            self._unlike(path, blocks, number)

    def finish_record(self, path: str, record: "Record") -> None:
        if not record.wrong:
            record.finish(self._reader(path))
        if record.wrong:
            self._found(path, record)

    def _records(self, file: _File, start: int, end: int) -> "Iterator[Record]":
        for record in file.records[max(bisect_right(file.starts, start) - 1, 0) :] if file.records else ():
            if record.start >= end:
                return
            if record.end > start:
                yield record

    def _reader(self, path: str) -> Callable[[int, int], Iterator[memoryview]]:
        def read(start: int, end: int) -> Iterator[memoryview]:
            with borrowed(min(BLOCK, max(end - start, 1))) as buffer:
                for at in range(start, end, BLOCK):
                    part = buffer[: min(BLOCK, end - at)]
                    self.whole.read_into(path, at, part)
                    yield part

        return read

    def _found(self, path: str, record: "Record") -> None:
        finding = record.known.damage()
        self._wrong(finding, ByteRange(path, record.start, record.end - record.start))

    def _unlike(self, path: str, blocks: "Blocks", number: int) -> None:
        from ckpt_core.schema.side_files.seal_findings import unlike_block

        start, end = blocks.bounds(number)
        names = list(self.tensors_in(path, start, end)) if self.tensors_in is not None else []
        self._wrong(unlike_block(path, number, start, end, names), ByteRange(path, start, end - start))

    def _stale(self, finding: Finding, path: str) -> None:
        self._wrong(finding, ByteRange(path, 0, 1 << 62))

    def _wrong(self, finding: Finding, where: ByteRange) -> None:
        if not self.accept:
            self.whole.check_unchanged(failed=True, suspects=(where.path,) if where.path else ())
            raise refusal(finding, where.path)
        with self._lock:
            if all(where != known for _, known, _ in self.damage):
                opened = self.files[where.path].opened if where.path in self.files else {0}
                blocks = range(where.offset // BLOCK, -(-where.end // BLOCK))
                by = any(number in blocks for number in opened)
                self.damage.append((finding, where, by and finding.code.startswith("SL")))


def refusal(finding: Finding, path: str, *, more: str = "") -> CorruptError:
    """The error that refuses damage: its file first, then what it is."""
    shown = printable(finding.path or path)
    message = finding.message if finding.message.startswith(shown) else f"{shown}: {finding.message}"
    error = CorruptError(message + more, code=finding.code, path=finding.path, tensor=finding.tensor, hint=finding.hint)
    error.acceptable = True
    return error


class CheckedFiles(WrappedFiles):
    """A listing whose reads are checked.

    Args:
        files: The listing.
        seals: Whether a seal is compared too; not where it is about to be replaced.
        accept: Note what does not hold, in `damage`, and go on.
    """

    def __init__(
        self,
        files: Files,
        *,
        seals: bool = True,
        accept: bool = False,
        within: "tuple[Ledger, str] | None" = None,
    ) -> None:
        super().__init__(files)
        self._ledger, self._prefix = within or (Ledger(files, seals=seals, accept=accept), "")

    def head(self, path: str) -> bytes:
        data = self.inner.head(path)
        self._ledger.see(self._whole(path), 0, data)
        return data

    def read_into(self, path: str, offset: int, out: memoryview) -> None:
        self.inner.read_into(path, offset, out)
        self._ledger.see(self._whole(path), offset, out)

    def see(self, path: str, offset: int, data: memoryview) -> None:
        """Compare a copy's bytes as if they were read here.

        Raises as a read.
        """
        self._ledger.see(self._whole(path), offset, data)

    def read_many(self, ranges: Sequence[ByteRange]) -> Iterator[bytes]:
        for wanted, data in zip(ranges, self.inner.read_many(ranges), strict=True):
            self._ledger.see(self._whole(wanted.path), wanted.offset, data)
            yield data

    def below(self, root: str) -> Files:
        if not root:
            return self
        folder = root.rpartition("/")[0] if root in self.entries else root.rstrip("/")
        within = self._ledger, under(self._prefix, folder) if folder else self._prefix
        return CheckedFiles(self.inner.below(root), within=within)

    def expect(self, sums: Iterable[Sum], tensors_in: TensorsIn | None = None) -> None:
        if tensors_in is not None and (self._ledger.tensors_in is None or not self._prefix):
            prefix = self._prefix
            self._ledger.tensors_in = lambda path, start, end: tensors_in(_below(path, prefix), start, end)
        self._ledger.expect(sums, self._prefix)
        self._ledger.seal(self.inner, self._prefix)

    def prove(self, ranges: Iterable[ByteRange]) -> None:
        for wanted in ranges:
            self._ledger.prove(self._whole(wanted.path), wanted.offset, wanted.end)

    def finish(self) -> None:
        self._ledger.finish()

    def read_in_shares(self) -> "Ledger":
        """Leave the rest of what is begun to `finish_together`.

        Other ranks read parts of it.
        """
        self._ledger.in_shares = True
        return self._ledger

    def sealed_blocks(self) -> "dict[str, Blocks]":
        """Return the blocks of sealed files, by their whole paths."""
        return {path: file.blocks for path, file in sorted(self._ledger.files.items()) if file.blocks is not None}

    def damage(self) -> list[tuple[Finding, ByteRange, bool]]:
        return list(self._ledger.damage)

    @property
    def accepts_damage(self) -> bool:
        return self._ledger.accept

    def checked_by(self) -> str:
        files = self._ledger.files.values()
        sealed = any(file.blocks is not None and len(file.blocks) for file in files)
        parts = ["seal"] if sealed else []
        # Not how many: each rank of a conversion reads its share, and all of them write the same seal.
        parts += ["the crc32 of each record that has one"] if any(file.records for file in files) else []
        return " and ".join(parts) or "nothing: it has no checksums"

    def _whole(self, path: str) -> str:
        return under(self._prefix, path) if self._prefix else path


def _below(path: str, prefix: str) -> str:
    return path.removeprefix(f"{prefix}/") if prefix else path
