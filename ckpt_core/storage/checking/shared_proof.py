"""Proves bytes that several ranks have read in shares.

The sums of a record's parts are put together without another read of it. A block of a seal is proved by one of the
ranks that have a part of it: by the one that has seen most of its front, which reads the rest.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ckpt_core.schema.access import Files
from ckpt_core.storage.checking.checked_files import CheckedFiles
from ckpt_core.storage.ranks.ranks import Ranks

if TYPE_CHECKING:
    from ckpt_core.storage.checking.checked_files import Ledger

_MOST_PIECES = 64
"""Pieces of one record that a rank tells of. One that was read in more, as columns are, is read whole by one rank."""


def read_in_shares(files: Files, ranks: Ranks) -> None:
    """Begin reads whose checksums `finish_together` compares."""
    if ranks.world > 1 and isinstance(files, CheckedFiles):
        files.read_in_shares()


def finish_together(files: Files, ranks: Ranks) -> None:
    """Complete the comparisons that the reads of all ranks have begun.

    Raises:
        CkptError: As `Files.finish`, on every rank.
    """
    if ranks.world == 1 or not isinstance(files, CheckedFiles):
        ranks.together(files.finish)
        return
    ledger = files.read_in_shares()
    told = ranks.exchange([_begun_records(ledger), _begun_blocks(ledger)])
    ranks.together(lambda: _finish(ledger, ranks.rank, [one[0] for one in told], [one[1] for one in told]))
    ledger.in_shares = False


def _begun_records(ledger: "Ledger") -> list[list[Any]]:
    """Return the place of each begun record, and its pieces."""
    return [
        [path, record.start, record.pieces if len(record.pieces) <= _MOST_PIECES else []]
        for path, file in sorted(ledger.files.items())
        for record in file.records
        if record.begun
    ]


def _begun_blocks(ledger: "Ledger") -> list[list[Any]]:
    return [
        [path, number, file.blocks.seen(number)]
        for path, file in sorted(ledger.files.items())
        if file.blocks is not None
        for number in file.blocks.begun()
    ]


def _finish(ledger: "Ledger", rank: int, records: Sequence[list[list[Any]]], blocks: Sequence[list[list[Any]]]) -> None:
    others: dict[tuple[str, int], list[list[Any]]] = {}
    first: dict[tuple[str, int], int] = {}
    for number, told in enumerate(records):
        for path, start, pieces in told:
            first.setdefault((path, start), number)
            others.setdefault((path, start), []).extend(pieces if number != rank else [])
    for path, file in sorted(ledger.files.items()):
        for record in file.records:
            if record.begun:
                for piece in others[path, record.start]:
                    record.take(*piece)
                if record.wrong or (record.begun and first[path, record.start] == rank):
                    ledger.finish_record(path, record)
    best: dict[tuple[str, int], tuple[int, int]] = {}
    for number, told in enumerate(blocks):
        for path, block, seen in told:
            best[path, block] = max(best.get((path, block), (-1, 0)), (seen, -number))
    for (path, block), (_, owner) in sorted(best.items()):
        known = ledger.files[path].blocks if path in ledger.files else None
        if known is None:
            continue
        if -owner == rank:
            ledger.finish_block(path, known, block)
        else:
            known.leave(block)
