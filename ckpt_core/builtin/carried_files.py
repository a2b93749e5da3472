"""Checks files that no table of tensors mentions.

The listing leaves some out, others are carried along unread.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.text import printable
from ckpt_core.storage.files.range_checks import DENIED

if TYPE_CHECKING:
    from ckpt_core.errors import CkptError
    from ckpt_core.reading.checkpoints import StoredCheckpoint
    from ckpt_core.schema.access import Files

_LOADED = re.compile(r"(config|index|tokenizer|vocab|tokens|template|merges|metadata|state|args)[^/]*$|\.model$")
"""In the names of the text files that loaders and trainers read; any other may be anybody's."""

_KEPT = (".bin", ".ckpt", ".distcp", ".json", ".metadata", ".model", ".pkl", ".pt", ".pth", ".safetensors")
"""Endings of the files that trainers keep a checkpoint in; anything else may lie beside one."""

_TEXT = (".json", ".model", ".txt")
"""Endings of a tokenizer's and a model's files: none of them is ever a web page."""

_STARTS = tuple(bytes([byte]) for byte in b'{["-0123456789tfn')
_CLOSED = {b"{": b"}", b"[": b"]"}
_BOM = b"\xef\xbb\xbf"
_TAIL = 64
_MOST_PARSED = 2 << 20
"""Bytes of JSON that are parsed to know that they are whole: what is made of them takes up to twenty times as many."""


def left_out(files: "Files", stored: "StoredCheckpoint | None") -> Iterator[Finding]:
    """Yield CK006 for files that the listing leaves out.

    It is an error for what has the name of a checkpoint's file, since it is there and nobody has looked at it.
    """
    said = _spoken_of(stored, Severity.ERROR)
    lost = [role.where for role in (stored.manifest.roles if stored is not None else ()) if role.where]
    for path, reason in files.skipped.items():
        if path not in said:
            wanted = any(where.startswith(f"{path}/") for where in lost)
            kept = reason == DENIED or wanted or (path.endswith(_KEPT) and not _is_hidden(path))
            severity = Severity.ERROR if kept else Severity.WARNING
            message = f"{printable(path)}: left out of the listing: {reason}"
            yield Finding("CK006", severity, message, path, hint="what it holds was not checked")


def loose_files(files: "Files", stored: "StoredCheckpoint | None", *, whole: bool) -> Iterator[Finding]:
    """Yield CK010 to CK013 and CK018 for carried files.

    Judged by their first and last bytes, or by all of them.
    """
    if stored is None:
        return
    said = _spoken_of(stored, Severity.WARNING)
    for asset in stored.manifest.assets:
        if asset.path.endswith(_TEXT) and asset.path not in said and not _is_hidden(asset.path):
            error = _wrong(files, asset.path, whole)
            if error is not None:
                loaded = _LOADED.search(asset.path)
                yield replace(Finding.of_error(error), severity=Severity.ERROR if loaded else Severity.WARNING)


def _is_hidden(path: str) -> bool:
    """Return True for a file with a leading dot.

    It is an editor's or a tool's own; DCP's metadata is not.
    """
    *folders, name = path.split("/")
    hidden = name.startswith(".") and not name.startswith(".metadata")
    return hidden or any(folder.startswith(".") for folder in folders)


def _spoken_of(stored: "StoredCheckpoint | None", least: Severity) -> set[str | None]:
    """Return the paths with findings of at least a severity.

    Opening the checkpoint has made these findings.
    """
    findings = () if stored is None else stored.manifest.findings
    return {finding.path for finding in findings if finding.severity >= least}


def _wrong(files: "Files", path: str, whole: bool) -> "CkptError | None":
    from ckpt_core.codecs.foreign.impostors import impostor
    from ckpt_core.errors import CorruptError, FormatError

    try:
        content = None if _may_be_empty(files, path) else impostor(path, files.head(path), files.size(path))
        if content is not None or not path.endswith(".json") or _looks_whole(files, path, whole):
            return content
    except FormatError as error:
        return error
    return CorruptError(f"{printable(path)}: not JSON, or cut short; copy it again", code="CK018", path=path)


def _may_be_empty(files: "Files", path: str) -> bool:
    """Return True for an empty text file.

    Some programs keep an empty list in a text file without a line.
    """
    return path.endswith(".txt") and files.size(path) == 0


def _looks_whole(files: "Files", path: str, whole: bool) -> bool:
    """Return True if a JSON file looks whole.

    Only the beginning and the end of a long file are judged, unless it is read whole.
    """
    head, size = files.head(path), files.size(path)
    if len(head) == size or (whole and size <= _MOST_PARSED):
        return _is_json(head if len(head) == size else files.read(path))
    start = head.removeprefix(_BOM).lstrip()
    end = files.read(path, size - _TAIL, _TAIL).rstrip()
    return not end or (start[:1] in _STARTS and end[-1:] == _CLOSED.get(start[:1], end[-1:]))


def _is_json(data: bytes) -> bool:
    """Return True for a whole JSON value.

    Several values count too, as in a log of lines.
    """
    try:
        json.loads(data.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        return error.msg == "Extra data"
    except (ValueError, RecursionError):
        return False
    return True
