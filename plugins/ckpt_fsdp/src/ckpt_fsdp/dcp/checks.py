"""Checks a distributed checkpoint beyond its table.

Shards nobody names, items whose bytes changed.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from ckpt_core import ByteRange, Checkpoint, Chunk, CkptError, Files, Finding, Severity, VerifyRequest, printable
from ckpt_core.codecs import TORCH_ZIP, check_items, chunk_finder
from ckpt_fsdp.dcp.detection import SUFFIX
from ckpt_fsdp.dcp.opening import DcpCheckpoint, Opened
from ckpt_fsdp.dcp.replicas import check_replicas

_MOST_LOOKED_THROUGH = 1 << 16
"""Chunks among which the first of each file is looked for; every rank has some of the first tensors."""


def check(files: Files, checkpoint: Checkpoint | None, request: VerifyRequest) -> Iterator[Finding]:
    """Yield what is wrong with a checkpoint of DCP's.

    A format built on DCP is checked too; any other has no findings here.
    """
    if isinstance(checkpoint, DcpCheckpoint):
        yield from check_opened(files, checkpoint.opened, request)


def check_opened(files: Files, opened: Opened, request: VerifyRequest) -> Iterator[Finding]:
    """Yield what is wrong with the checkpoint at `opened.root`.

    From the bytes depth on, every item is read whole.
    """
    yield from _unnamed(files, opened)
    if request.whole:
        yield from check_items(files, list(_items(files, opened)))
        if opened.replicated:
            yield from check_replicas(files, opened.components)
        return
    yield from _first_items(files, opened)
    if request.sampling is not None:
        message = "checksums of items, and copies, were not compared: that needs all bytes"
        where = f"{printable(opened.root)}: " if opened.root else ""
        yield Finding("CK022", Severity.INFO, f"{where}{message}", opened.root or None)


def _unnamed(files: Files, opened: Opened) -> Iterator[Finding]:
    named = set(opened.files)
    for path in files.entries:
        if path.endswith(SUFFIX) and path.rpartition("/")[0] == opened.root and path not in named:
            message = f"{printable(path)}: a shard that the metadata does not name; left over from another save?"
            yield Finding("DC011", Severity.WARNING, message, path, hint="remove it once you know what it is")


def _first_items(files: Files, opened: Opened) -> Iterator[Finding]:
    """Yield what is wrong with one item of each file.

    A file of the right length need not have been written.
    """
    confirm, pending = chunk_finder(files), set(opened.files) & files.entries.keys()
    for name, chunk in islice(_chunks(files, opened), _MOST_LOOKED_THROUGH):
        path = chunk.stored.path if chunk.stored is not None else ""
        if not pending:
            return
        if path in pending:
            pending.remove(path)
            try:
                confirm(chunk)
            except CkptError as error:
                yield replace(Finding.of_error(error), tensor=name)


def _items(files: Files, opened: Opened) -> Iterator[tuple[str, ByteRange]]:
    """Yield every stored tensor item with the tensor's name.

    They are those that lie in a file that is there.
    """
    for name, chunk in _chunks(files, opened):
        if chunk.stored is not None:
            yield name, chunk.stored


def _chunks(files: Files, opened: Opened) -> Iterator[tuple[str, Chunk]]:
    for component in opened.components:
        for name, entry in component.tensors.items():
            for chunk in entry.chunks:
                held = chunk.stored
                if held is None or chunk.encoding.name != TORCH_ZIP or held.path not in files.entries:
                    continue
                if held.end <= files.size(held.path):
                    yield name, chunk
