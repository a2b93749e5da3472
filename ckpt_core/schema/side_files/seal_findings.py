"""Findings about files that differ from their seal.

They are the same in every verb.
"""

from collections.abc import Iterator, Sequence

from ckpt_core.schema.access import Files
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.side_files.debris import debris
from ckpt_core.schema.side_files.seals import Seal
from ckpt_core.schema.text import printable

UNLIKE_HINT = "copy the file again; run ckpt seal if it was changed on purpose"
_STALE_HINT = "copy it again; run ckpt seal if it was changed"
_SHOWN = 3


def stale_files(files: Files, seal: Seal) -> Iterator[Finding]:
    """Yield SL001 and SL003 for sealed files that changed or vanished.

    SL001 is another size, SL003 a missing file.
    """
    for path, sealed in seal.files.items():
        if debris(path) is not None:
            continue  # sealed by a ckpt that did not know it for what it is
        if path not in files.entries:
            message = f"{printable(path)}: the seal names this file, and it is missing"
            yield Finding("SL003", Severity.ERROR, message, path, hint="copy it again")
        elif files.size(path) != sealed.size:
            sizes = f"has {files.size(path)} bytes, sealed were {sealed.size}"
            message = f"{printable(path)}: {sizes}: a stale seal, or damage"
            yield Finding("SL001", Severity.ERROR, message, path, hint=_STALE_HINT)


def unlike_block(path: str, number: int, start: int, end: int, names: Sequence[str]) -> Finding:
    """Return SL002 for a block that differs from its seal.

    It names tensors that lie in the block.
    """
    shown = ", ".join(map(printable, names[:_SHOWN])) + (" and more" if len(names) > _SHOWN else "")
    held = f", and with it {shown}" if names else ""
    message = f"{printable(path)}: block {number} (bytes {start} to {end}){held}, is not what was sealed"
    return Finding("SL002", Severity.ERROR, message, path, names[0] if names else None, UNLIKE_HINT)
