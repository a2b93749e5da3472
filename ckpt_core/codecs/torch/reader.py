"""Reads files that torch.save wrote, without torch.

Their pickle isn't run. The two layouts are read by `zip_layout` and `legacy_layout`; here is what both come to.
"""

from contextlib import suppress
from typing import TYPE_CHECKING

from ckpt_core.codecs.heads.torch import TorchKind, short, sniff_torch
from ckpt_core.codecs.torch.file import TorchFile
from ckpt_core.errors import BudgetError, CkptError, CorruptError, UnsupportedFormatError
from ckpt_core.schema.access import Files
from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    from ckpt_core.codecs.pickle.scan import Head


def sniff_pickle(head: bytes) -> "Head | None":
    """Return the names and strings in a torch file's pickle.

    Only the file's first bytes are read; the result is None where they show none.
    """
    from ckpt_core.codecs.pickle.scan import TruncatedError, scan, scan_head

    kind = sniff_torch(head)
    if kind is TorchKind.ZIP and head[30 : 30 + short(head, 26)].endswith(b"/data.pkl") and not short(head, 8):
        return scan_head(head, 30 + short(head, 26) + short(head, 28))
    if kind is TorchKind.LEGACY:
        position = 0
        try:
            for _ in range(3):  # the magic number, the protocol, the machine
                position = scan(head, position, path="", available=len(head)).end
        except (CkptError, TruncatedError):
            return None
        return scan_head(head, position)
    return None


def read_torch_file(files: Files, path: str) -> TorchFile:
    """Read a torch file except the bytes of its tensors.

    Raises:
        UnsafeContentError: PK003, its pickle would run code.
        UnsupportedFormatError: TF006, a tar, or a zip that torch.save did not write.
        CorruptError: TF001 to TF003, PK001, ZP001 to ZP007: it breaks a rule, which the message names.
        BudgetError: PK002 or ZP001, it is larger in memory than `knobs.header_limit` allows.
    """
    head = files.head(path)
    kind = sniff_torch(head)
    if head[:4] == b"PK\x03\x04":
        from ckpt_core.codecs.gc_pause import without_collection
        from ckpt_core.codecs.torch.zip_layout import read_zip

        if kind is None:
            _refuse_known(path, head)
        with without_collection():
            return read_zip(files, path)
    if kind is TorchKind.LEGACY:
        from ckpt_core.codecs.gc_pause import without_collection
        from ckpt_core.codecs.torch.legacy_layout import read_legacy

        with without_collection():
            return read_legacy(files, path)
    if kind is TorchKind.TAR:
        raise UnsupportedFormatError(
            f"{printable(path)}: {kind.value}, which no reader is left for but torch's own; "
            "load it with an old torch and save it again",
            code="TF006",
            path=path,
        )
    from ckpt_core.codecs.foreign.errors import not_ours

    _refuse_unsafe(path, head)
    raise not_ours(path, head, files.size(path)) or CorruptError(
        f"{printable(path)}: not a torch file: it begins like nothing that torch.save writes; get the file again",
        code="TF001",
        path=path,
    )


def _refuse_unsafe(path: str, head: bytes) -> None:
    """Raise PK003 for a plain pickle that would run code.

    Its beginning is judged. What loads a sound one is no advice for it.
    """
    from ckpt_core.codecs.pickle.reader import read_pickle

    if head[:1] == b"\x80":
        with suppress(CorruptError, BudgetError):
            read_pickle(head, path=path)


def _refuse_known(path: str, head: bytes) -> None:
    """Raise FM001 for an archive of another program.

    Its first records show it.
    """
    from ckpt_core.codecs.foreign.errors import foreign_error
    from ckpt_core.codecs.foreign.files import zip_kind
    from ckpt_core.codecs.foreign.signs import ZIP

    kind = zip_kind(head)
    if kind is not ZIP:
        raise foreign_error(printable(path), path, kind)
