"""What no table of tensors speaks of: files that the listing leaves out, and files that are carried along unread."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    from ckpt_core.errors import CkptError
    from ckpt_core.reading.checkpoints import StoredCheckpoint
    from ckpt_core.schema.access import Files

_KEPT = (".bin", ".ckpt", ".distcp", ".json", ".metadata", ".model", ".pkl", ".pt", ".pth", ".safetensors")
"""Endings of the files that trainers keep a checkpoint in; anything else may lie beside one."""

_TEXT = (".json", ".model", ".txt")
"""Endings of a tokenizer's and a model's files: none of them is ever a web page."""

_STARTS = tuple(bytes([byte]) for byte in b'{["-0123456789tfn')
_CLOSED = {b"{": b"}", b"[": b"]"}
_BOM = b"\xef\xbb\xbf"
_TAIL = 64


def left_out(files: "Files", stored: "StoredCheckpoint | None") -> Iterator[Finding]:
    """CK006: an error for what has the name of a checkpoint's file, since it is there and nobody has looked at it."""
    said = _spoken_of(stored, Severity.ERROR)
    for path, reason in files.skipped.items():
        if path not in said:
            severity = Severity.ERROR if path.endswith(_KEPT) else Severity.WARNING
            message = f"{printable(path)}: left out of the listing: {reason}"
            yield Finding("CK006", severity, message, path, hint="what it holds was not checked")


def loose_files(files: "Files", stored: "StoredCheckpoint | None", *, whole: bool) -> Iterator[Finding]:
    """CK010 to CK013 and CK018 of the files that are carried along: by their first and last bytes, or all of them."""
    if stored is None:
        return
    said = _spoken_of(stored, Severity.WARNING)
    for asset in stored.manifest.assets:
        if asset.path.endswith(_TEXT) and asset.path not in said:
            error = _wrong(files, asset.path, whole)
            if error is not None:
                yield Finding.of_error(error)


def _spoken_of(stored: "StoredCheckpoint | None", least: Severity) -> set[str | None]:
    """Paths that opening has a finding of, of at least this severity."""
    findings = () if stored is None else stored.manifest.findings
    return {finding.path for finding in findings if finding.severity >= least}


def _wrong(files: "Files", path: str, whole: bool) -> "CkptError | None":
    from ckpt_core.codecs.lookalikes import impostor
    from ckpt_core.errors import CkptError, CorruptError

    try:
        found = None if _may_be_empty(files, path) else impostor(path, files.head(path), files.size(path))
        if found is not None or not path.endswith(".json") or _looks_whole(files, path, whole):
            return found
    except CkptError as error:
        return error
    return CorruptError(f"{printable(path)}: not JSON, or cut short; copy it again", code="CK018", path=path)


def _may_be_empty(files: "Files", path: str) -> bool:
    """Some programs keep an empty list in a text file without a line."""
    return path.endswith(".txt") and files.size(path) == 0


def _looks_whole(files: "Files", path: str, whole: bool) -> bool:
    """Whether JSON is JSON; of a long file, unless it is read whole, that it begins and ends as such."""
    from ckpt_core.codecs.pieces import MAX_JSON

    head, size = files.head(path), files.size(path)
    if len(head) == size or (whole and size <= MAX_JSON):
        return _is_json(head if len(head) == size else files.read(path))
    start = head.removeprefix(_BOM).lstrip()
    end = files.read(path, size - _TAIL, _TAIL).rstrip()
    return start[:1] in _STARTS and end[-1:] == _CLOSED.get(start[:1], end[-1:])


def _is_json(data: bytes) -> bool:
    """Whether it is a whole value, or several as in a log of lines."""
    try:
        json.loads(data.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        return error.msg == "Extra data"
    except (ValueError, RecursionError):
        return False
    return True
