"""Seal: digests written beside somebody's checkpoint, none of whose files is touched."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ckpt_core import knobs
from ckpt_core.arguments import argument
from ckpt_core.errors import OverwriteError
from ckpt_core.manager.plugin_manager import CkptPluginManager
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.reading.read_back import read_back
from ckpt_core.schema.access import Checkpoint, Files
from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.side_files.reserved_names import FILE_SUMS, SUMS
from ckpt_core.schema.side_files.seals import Seal
from ckpt_core.storage.files.moments import one_moment
from ckpt_core.storage.sealing import put_beside, read_seal, sealing, write_seal
from ckpt_core.verbs.checked_arguments import checked
from ckpt_core.verbs.load import Checks, open_checkpoint
from ckpt_core.verbs.reference import Reference, refuse_version, stored
from ckpt_core.version import __version__

if TYPE_CHECKING:
    from ckpt_core.schema.access import Progress


@dataclass(frozen=True, slots=True)
class Sealing:
    """The record of what was sealed.

    It has sizes of files by path, the digest of each component, and the file of sha256 sums, if any.
    """

    location: str
    files: Mapping[str, int]
    components: Mapping[str, str]
    sums: str | None = None


@checked()
def seal(
    ref: Reference,
    *,
    sha256: bool = False,
    force: bool = False,
    progress: "Progress | None" = None,
    storage_options: Mapping[str, Any] | None = None,
    manager: CkptPluginManager | None = None,
) -> Sealing:
    """Read a checkpoint whole and write its seal.

    Args:
        ref: A checkpoint on a disk or in a store of objects; see `load`.
        sha256: Also write the sums that `sha256sum -c` checks: `SHA256SUMS` in a directory, `NAME.sha256` by a file.
        force: Replace a seal that is there.
        progress: Told of the bytes read.
        storage_options: For the clients of s3://, gs:// and hf://, by their own names, such as `endpoint_url`; None for
            what their configuration says.
        manager: The plugin manager; None for the process's own.

    Raises:
        OverwriteError: It is sealed already, or is a version of a store.
        LockedError: Another process is writing there.
        UnsupportedFormatError: It is in a place that nothing can be written to.
        ReplacedError: It was replaced, changed or removed meanwhile; nothing was written.
        CkptError: It cannot be opened or read; nothing was written.
    """
    place, format = (ref.location.url, stored(ref).match.format) if isinstance(ref, Checkpoint) else (ref, None)
    checkpoint = open_checkpoint(place, format=format, manager=manager, checks=Checks(seals=False))
    files = checkpoint.files
    refuse_version(files.location.url)
    with sealing(files):
        if not force and read_seal(files) is not None:
            raise OverwriteError(
                f"{checkpoint.location}: is sealed already; check it with ckpt verify, or {argument('force', True)}"
            )
        if progress is not None:
            progress.begin((2 if sha256 else 1) * sum(entry.size for entry in files.entries.values()))
        sums = _write_sums(files, progress) if sha256 else None
        if sums is not None and files.location.kind is LocationKind.DIRECTORY:
            again = open_checkpoint(place, format=format, manager=manager, checks=Checks(seals=False))
            checkpoint = again  # it lists the sums now
        made = _seal_of(checkpoint, progress)
        write_seal(checkpoint.files, made)
    sizes = {path: file.size for path, file in sorted(made.files.items())}
    return Sealing(str(checkpoint.location), sizes, made.components, sums)


def _seal_of(checkpoint: StoredCheckpoint, progress: "Progress | None") -> Seal:
    """Return the seal of a checkpoint that is read whole."""
    checkpoint.progress = progress
    with one_moment(checkpoint):
        checkpoint.confirm()
        proof = read_back(checkpoint)
        checkpoint.finish()
    return Seal(
        format=checkpoint.match.format,
        files=proof.files,
        tensors=proof.by_component(),
        components=proof.components(),
        provenance={"ckpt_core": __version__, "sealed": "afterwards", **_taint(checkpoint)},
    )


def _taint(checkpoint: StoredCheckpoint) -> dict[str, Any]:
    """Return the taint that the content tells of.

    A seal that left it out would vouch for what was not saved.
    """
    tainted = checkpoint.manifest.tainted
    return {"tainted": dict(tainted)} if tainted else {}


def _write_sums(files: Files, progress: "Progress | None") -> str:
    """Write the sha256 sums of all files; return their file's name.

    An older list of sums is left out.
    """
    single = files.location.kind is LocationKind.FILE
    name = f"{next(iter(files.entries))}{FILE_SUMS}" if single else SUMS
    lines = [f"{_sha256(files, path, progress)}  {path}\n" for path in files.entries if path != name]
    put_beside(files, name, "".join(lines).encode("utf-8", "surrogateescape"))
    return name


def _sha256(files: Files, path: str, progress: "Progress | None") -> str:
    digest = hashlib.sha256()
    for slab in _slabs(files, path):
        digest.update(slab)
        if progress is not None:
            progress.advance(len(slab))
    return digest.hexdigest()


def _slabs(files: Files, path: str) -> Iterator[bytes | memoryview]:
    local, longest = files.local_path(path), 8 * knobs.slab_bytes()
    if local is None:
        for at in range(0, files.size(path), longest):
            yield files.read(path, at, min(longest, files.size(path) - at))
        return
    buffer = memoryview(bytearray(min(longest, files.size(path) + 1)))
    with open(local, "rb", buffering=0) as file:
        files.opened(path, file.fileno())
        while count := file.readinto(buffer):
            yield buffer[:count]
