"""Joins near ranges to one question, and cuts its answer."""

from collections.abc import Iterator, Sequence

from ckpt_core.schema.tensors import ByteRange

TOGETHER = 1024
"""Ranges asked for at once: enough to hide latency."""

TOGETHER_BYTES = 64 << 20
"""Bytes asked for at once, since all of them are held in memory, twice while they are handed on; one may be longer."""

_GAP = 64 << 10
"""Bytes between two ranges that cost less than another question: what a connection brings in a millisecond."""


def batches(ranges: Sequence[ByteRange]) -> Iterator[list[ByteRange]]:
    """Yield the ranges in order, in groups.

    As many are together as may be asked for and held at once.
    """
    batch: list[ByteRange] = []
    held = 0
    for wanted in ranges:
        if batch and (len(batch) == TOGETHER or held + wanted.length > TOGETHER_BYTES):
            yield batch
            batch, held = [], 0
        batch.append(wanted)
        held += wanted.length
    if batch:
        yield batch


def joined(ranges: Sequence[ByteRange]) -> list[ByteRange]:
    """Return sorted spans that hold all ranges with bytes.

    Gaps in them are smaller than a question.
    """
    spans: list[ByteRange] = []
    for wanted in sorted((one for one in ranges if one.length), key=lambda one: (one.path, one.offset)):
        last = spans[-1] if spans else None
        if last is not None and last.path == wanted.path and wanted.offset <= last.end + _GAP:
            spans[-1] = ByteRange(last.path, last.offset, max(last.end, wanted.end) - last.offset)
        else:
            spans.append(wanted)
    return spans


def parts_of(ranges: Sequence[ByteRange], spans: Sequence[ByteRange], data: Sequence[memoryview]) -> list[bytes]:
    """Return each range's bytes, cut from the spans' bytes.

    They come in the order asked.
    """
    from bisect import bisect_right

    starts = [(span.path, span.offset) for span in spans]
    result = []
    for wanted in ranges:
        number = bisect_right(starts, (wanted.path, wanted.offset)) - 1
        begin = wanted.offset - spans[number].offset if wanted.length else 0
        result.append(bytes(data[number][begin : begin + wanted.length]) if wanted.length else b"")
    return result
