"""Comparison of an artifact's bytes with its manifest's hashes."""

from collections.abc import Iterator

from ckpt_core import Files, Finding, Severity, printable
from ckpt_wandb.artifacts import Entry, open_artifact
from ckpt_wandb.digests import Digest
from ckpt_wandb.refs import parse

_SLAB = 2 << 20


def manifest_checks(files: Files) -> Iterator[Finding]:
    """Yield a finding for each file that differs from its log.

    Its bytes are not those that were logged, or that cannot be told.
    """
    ref = parse(files.location.url)
    entries = open_artifact(ref).entries
    for path in files.entries:
        entry = entries.get(f"{ref.path}/{path}" if ref.path else path) or entries.get(ref.path)
        if entry is None:
            continue
        if entry.is_checked:
            digest = _hashed(files, path, entry)
            if digest != entry.digest:
                message = f"is not what was logged: its {entry.algorithm} is {digest}, the manifest says {entry.digest}"
                yield Finding("WB001", Severity.ERROR, f"{printable(path)} {message}", path=path)
        else:
            message = f"{printable(path)} is a reference: the manifest has no hash of its bytes"
            yield Finding("WB002", Severity.INFO, message, path=path)


def _hashed(files: Files, path: str, entry: Entry) -> str:
    digest, size = Digest(entry.algorithm), files.size(path)
    buffer = memoryview(bytearray(min(_SLAB, size)))
    for start in range(0, size, _SLAB):
        part = buffer[: min(_SLAB, size - start)]
        files.read_into(path, start, part)
        digest.see(part)
    return digest.text()
