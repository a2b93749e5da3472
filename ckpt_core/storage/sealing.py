"""Reads seals from listings, and digests files to compare."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ckpt_core.errors import CkptError
from ckpt_core.schema.access import Files
from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.side_files.reserved_names import BLOCKS, DIRECTORY_SEAL, FILE_SUFFIX, FILE_SUMS, MARK, SUMS
from ckpt_core.schema.side_files.seals import FileSeal, Seal, generation_of, not_a_seal, pack, unpack
from ckpt_core.schema.text import printable
from ckpt_core.storage.digests import BLOCK, block_digest, seal_of
from ckpt_core.storage.files.identity import replaced
from ckpt_core.storage.urls import local_path
from ckpt_core.storage.writing import syscalls
from ckpt_core.storage.writing.locks import locked
from ckpt_core.storage.writing.mounts.renames import can_rename_at


def read_seal(files: Files) -> Seal | None:
    """Return the seal of a listing.

    None where there is none, or it is of another version of the object.

    Raises:
        CorruptError: SL005, it cannot be read.
        ReplacedError: It is of another content than the listed one.
    """
    seal = seal_beside(files)
    return None if seal is None or is_of_another(files, seal) else seal


def is_of_another(files: Files, seal: Seal) -> bool:
    """Return True if a seal is of another object version.

    It says nothing of the listed one then.

    On a disk, and where a server tells no versions, nothing names one: the seal counts by its digests, as ever.
    """
    return any(
        path in files.entries
        and (said := files.version(path))
        and "://" in files.location.url
        and version.strip('"') not in said
        for path, version in seal.objects.items()
    )


def seal_beside(files: Files) -> Seal | None:
    """Return the seal that lies with a listing, of anything.

    None where there is none. Raises as `read_seal`.
    """
    one_file = files.location.kind is LocationKind.FILE
    name = next(iter(files.entries)) + FILE_SUFFIX if one_file else DIRECTORY_SEAL
    text = files.beside(name)
    if text is None:
        return None
    if not one_file and generation_of(text) != files.generation:
        raise replaced(f"{files.location}")
    seal = unpack(text, None if one_file else files.beside(BLOCKS) or b"", path=name)
    for path, file in seal.files.items():
        if seal_of(file.size, file.blocks).root != file.root:
            raise not_a_seal(name, f"the digests of {printable(path)} are damaged")
    return seal


def write_seal(files: Files, seal: Seal) -> None:
    """Write a seal for a listing.

    The old one goes first: a stop between leaves it unsealed, never false.
    """
    if _is_stored(files):
        from ckpt_core.storage.writing.uploads.sealing import write_object_seal

        write_object_seal(files, seal)
        return
    if files.location.kind is LocationKind.FILE:
        text, _ = pack(seal, apart=False)
        put_beside(files, next(iter(files.entries)) + FILE_SUFFIX, text)
        return
    folder, (text, blocks) = _folder(files), pack(seal, apart=True)
    new = {BLOCKS: _staged(folder, BLOCKS, blocks), DIRECTORY_SEAL: _staged(folder, DIRECTORY_SEAL, text)}
    syscalls.remove(os.path.join(folder, DIRECTORY_SEAL))
    syscalls.sync_directory(folder)
    for name, staged in new.items():
        syscalls.rename(staged, os.path.join(folder, name))
        syscalls.sync_directory(folder)


def put_beside(files: Files, name: str, data: bytes) -> None:
    """Write a small file of ours beside a listing.

    It is there whole or not at all, in place of an older one.
    """
    if _is_stored(files):
        from ckpt_core.storage.writing.uploads.sealing import put_object_beside

        put_object_beside(files, name, data)
        return
    folder = _folder(files)
    syscalls.rename(_staged(folder, name, data), os.path.join(folder, name))
    syscalls.sync_directory(folder)


@contextmanager
def sealing(files: Files) -> Iterator[None]:
    """Lock the place of a listing's seal for the block.

    What a seal that was killed left there is swept.

    A directory is locked inside: the folder that it lies in may be another's.

    Raises:
        LockedError: Another process is writing there.
        UnsupportedFormatError: It is in a place that nothing can be written to.
    """
    if _is_stored(files):
        from ckpt_core.storage.writing.uploads.sealing import sealing_objects

        with sealing_objects(files):
            yield
        return
    folder = _folder(files)
    single = files.location.kind is LocationKind.FILE
    name = next(iter(files.entries)) if single else ""
    with locked(os.path.join(folder, f".{name}{MARK}lock" if single else f"{MARK}lock"), place=files.location.url):
        _sweep(folder, name)
        try:
            yield
        except BaseException:
            with suppress(CkptError):
                _sweep(folder, name)
            raise


def _is_stored(files: Files) -> bool:
    """Return True if a listing is in a store.

    A mount that is taken for a store counts.
    """
    path = local_path(files.location.url)
    return path is None or not can_rename_at(path)


def _sweep(folder: str, name: str) -> None:
    """Remove what is staged for a file or a directory.

    A name is that of the file; an empty one means the directory.
    """
    ends = [f".{own}{MARK}new-" for own in _names_beside(name)]
    for found in syscalls.list_names(folder):
        if any(found.startswith(end) and found.removeprefix(end).isdecimal() for end in ends):
            syscalls.remove(os.path.join(folder, found))


def _names_beside(name: str) -> tuple[str, ...]:
    return (name + FILE_SUFFIX, name + FILE_SUMS) if name else (BLOCKS, DIRECTORY_SEAL, SUMS)


def _folder(files: Files) -> str:
    """Return the folder of our small files for a local listing."""
    root = files.location.url
    return (os.path.dirname(root) or ".") if files.location.kind is LocationKind.FILE else root


def _staged(folder: str, name: str, data: bytes) -> str:
    """Return the path of a name's new content.

    It is on disk under another one.
    """
    staged = os.path.join(folder, f".{name}{MARK}new-{os.getpid()}")
    syscalls.remove(staged)
    syscalls.write_file(staged, data)
    return staged


def digests_of(files: Files, path: str) -> FileSeal:
    """Return the digests of a file, read whole."""
    size = files.size(path)
    blocks = [block_digest(files.read(path, at, min(BLOCK, size - at))) for at in range(0, size, BLOCK)]
    return seal_of(size, b"".join(blocks))
