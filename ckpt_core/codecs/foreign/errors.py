"""Errors for files and folders of other programs.

The table of signs gives what each is, and what its owner can do with it.
"""

from shlex import quote

from ckpt_core.codecs.foreign.files import foreign
from ckpt_core.codecs.foreign.folders import foreign_folder
from ckpt_core.codecs.foreign.impostors import impostor
from ckpt_core.codecs.foreign.signs import ForeignKind
from ckpt_core.codecs.heads import safetensors, torch
from ckpt_core.errors import CkptError, CorruptError, UnsupportedFormatError
from ckpt_core.schema.access import Files
from ckpt_core.schema.locations import LocationKind as Place
from ckpt_core.schema.side_files.debris import debris
from ckpt_core.schema.text import printable

_LOOKED_AT = 64
"""Files of a directory that nobody claims whose first bytes are read."""

_LONGEST_ANSWER = 4096
"""Bytes of a server's answer in place of a file; what is longer may be anything in text."""


def not_ours(path: str, head: bytes, size: int) -> CkptError | None:
    """Return the error for a file that another program wrote.

    A server's answer in place of a file has an error too; the result is None for anything unknown. It is asked where a
    file is opened that should be weights: of a text or a JSON file it would say that it is text.
    """
    kind = None if impostor(path, head, size) else foreign(path, head)
    return _renamed(path, head) or (_answer(path, head, size) if kind is None else _of_kind(path, kind))


def _of_kind(path: str, kind: ForeignKind) -> UnsupportedFormatError:
    return foreign_error(printable(path), path, kind)


def foreign_error(place: str, path: str, kind: ForeignKind) -> UnsupportedFormatError:
    """Return FM001, which says what a file is.

    The next step has the file's name in it.
    """
    step = kind.step.replace("{name}", quote(printable(path)))
    return UnsupportedFormatError(f"{place}: {kind.what}; {step}", code="FM001", path=path)


def unknown(files: Files) -> CkptError:
    """Return the error for a place that no format claims."""
    place = str(files.location)
    if not files.entries:
        return _empty(place, files)
    by_name = unfinished(next(iter(files.entries))) if files.location.kind is Place.FILE else None
    if by_name is not None:
        return by_name
    for path, entry in list(files.entries.items())[:_LOOKED_AT]:
        error = impostor(path, files.head(path), entry.size)
        if error is not None:
            return error
    return _foreign_in(place, files) or UnsupportedFormatError(
        f"{place}: no installed format recognises it; run ckpt formats to see which there are, or install a plugin",
        code="CK015",
    )


def unfinished(path: str) -> CorruptError | None:
    """Return FM003 for an unreadable file with a debris name.

    None for any other name.
    """
    named = debris(path)
    if named is None:
        return None
    step = "let its program finish, or fetch or copy it again; if it was finished, give it its own name"
    return CorruptError(f"{printable(path)}: {named[1]}, by its name; {step}", code="FM003", path=path)


def _empty(place: str, files: Files) -> CkptError:
    for path, reason in files.skipped.items():
        message = f"{place}: holds no file that can be read; {printable(path)} was left out: {reason}"
        return CorruptError(message, code="CK006", path=path)
    for path, what in files.debris.items():
        message = f"{place}: holds no file but what is left aside: {printable(path)} is {what}; fetch or copy it again"
        return CorruptError(message, code="CK014", path=path)
    return CorruptError(f"{place}: the directory holds no file", code="CK014", hint="check the name")


def _foreign_in(place: str, files: Files) -> CkptError | None:
    """Return the error for a place of another program.

    Its names show it, or else its largest files: weights are larger than what is with them.
    """
    if files.location.kind is Place.DIRECTORY:
        identified = foreign_folder(files.entries)
        if identified is not None:
            return foreign_error(f"{place} ({printable(identified[0])})", *identified)
    largest = sorted(files.entries.values(), key=lambda entry: -entry.size)[:_LOOKED_AT]
    for entry in largest:
        kind = foreign(entry.path, files.head(entry.path))
        if kind is not None:
            named = place if files.location.kind is Place.FILE else f"{place}: {printable(entry.path)}"
            return foreign_error(named, entry.path, kind)
    return None


def _renamed(path: str, head: bytes) -> CorruptError | None:
    """Return FM004 for a format of ours under another's name."""
    if safetensors.sniff_safetensors(head):
        what, step = "a safetensors file under another name", "rename it, to end in .safetensors"
    elif torch.sniff_torch(head) is not None:
        what, step = "a file of torch.save under another name", "rename it, to end in .pth, or in .bin beside a config"
    else:
        return None
    return CorruptError(f"{printable(path)}: {what}; {step}", code="FM004", path=path)


def _answer(path: str, head: bytes, size: int) -> CorruptError | None:
    """Return FM002 for a server's answer in a file's place.

    It is JSON or a few lines of text.
    """
    try:
        text = head.decode("utf-8").strip() if size <= _LONGEST_ANSWER else ""
    except UnicodeDecodeError:
        return None
    if not text or impostor(path, head, size) or not all(line.isprintable() for line in text.expandtabs().splitlines()):
        return None
    start = printable(text, 60)
    message = f"{printable(path)}: text ({start!r}), as a server answers in place of a file; download it again"
    return CorruptError(message, code="FM002", path=path)
