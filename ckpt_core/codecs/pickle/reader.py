"""Reads a whole pickle as plain state.

It is scanned, built of inert records, and turned to state. Nothing in it is imported or called.
"""

from dataclasses import dataclass, replace

from ckpt_core.codecs.gc_pause import without_collection
from ckpt_core.codecs.pickle.records import StorageRecord
from ckpt_core.codecs.pickle.scan import Scan, scan
from ckpt_core.codecs.pickle.sharded_tensors import parts_finding
from ckpt_core.codecs.pickle.state import Tree, state_of
from ckpt_core.codecs.pickle.unpickle import build
from ckpt_core.codecs.pickle.whole_modules import SCRIPTED
from ckpt_core.codecs.unread_bytes import LOOKED_AT, what_is
from ckpt_core.schema.findings import Finding, Severity


@dataclass(frozen=True, slots=True)
class Pickle:
    """The content of a pickle.

    Attributes:
        tree: Its value as plain state (`tree.root`), with the tensors and attributes met on the way.
        globals: Every name that it asks for, sorted.
        storages: The storages that its tensors view, by key.
        findings: FM005, PK004, PK005, PK007, TF004, TF005, TF009 and TF010, as they apply.
    """

    tree: Tree
    globals: tuple[str, ...]
    storages: dict[str, StorageRecord]
    findings: tuple[Finding, ...]


def read_pickle(data: bytes, *, path: str) -> Pickle:
    """Read the pickle that `data` starts with.

    Raises:
        UnsafeContentError: PK003, it would run code.
        CorruptError: PK001, it is not a sound pickle.
        BudgetError: PK002, it takes more memory than `knobs.header_limit` allows.
    """
    scanned = scan(data, path=path)
    pickle = read_scanned(scanned, path=path)
    if scanned.end == len(data):
        return pickle
    return replace(pickle, findings=(*pickle.findings, _behind(data, scanned, path)))


def _behind(data: bytes, scanned: Scan, path: str) -> Finding:
    """Return FM005 for bytes behind the end of a pickle."""
    rest = what_is(data[scanned.end : scanned.end + LOOKED_AT], len(data) - scanned.end)
    message = f"something follows the end of the pickle ({rest}); it is not read, and a conversion leaves it out"
    return Finding("FM005", Severity.WARNING, message, path)


def read_scanned(scanned: Scan, *, path: str) -> Pickle:
    """Read a pickle whose opcodes were checked.

    Raises as `read_pickle`.
    """
    with without_collection():
        built = build(scanned, path=path)
        tree = state_of(built.value, path=path, stream_bytes=len(scanned.stream), judged=built.judged)
    findings = (*tree.findings, *built.judged.findings(but=SCRIPTED), *parts_finding(tree.sharded, path))
    return Pickle(tree, built.globals, built.storages, findings)
