"""Seals read from a listing, and files digested block by block to compare with them."""

import os

from ckpt_core.schema.access import Files
from ckpt_core.schema.locations import Kind
from ckpt_core.schema.own_names import BLOCKS, DIRECTORY_SEAL, FILE_SUFFIX, MARK
from ckpt_core.schema.seals import Seal, not_a_seal, pack, unpack
from ckpt_core.schema.text import printable
from ckpt_core.storage import syscalls
from ckpt_core.storage.digests import seal_of


def read_seal(files: Files) -> Seal | None:
    """The seal of a listing; None where there is none. CorruptError (SL005) where it cannot be read."""
    one_file = files.location.kind is Kind.FILE
    name = next(iter(files.entries)) + FILE_SUFFIX if one_file else DIRECTORY_SEAL
    text = files.beside(name)
    if text is None:
        return None
    seal = unpack(text, None if one_file else files.beside(BLOCKS) or b"", path=name)
    for path, file in seal.files.items():
        if seal_of(file.size, file.blocks).root != file.root:
            raise not_a_seal(name, f"the digests of {printable(path)} are damaged")
    return seal


def write_seal(files: Files, seal: Seal) -> None:
    """Write a seal for a local listing, its digests first: a seal without them cannot be read, and is no lie."""
    if files.location.kind is Kind.FILE:
        text, _ = pack(seal, apart=False)
        put_beside(files, next(iter(files.entries)) + FILE_SUFFIX, text)
        return
    text, blocks = pack(seal, apart=True)
    put_beside(files, BLOCKS, blocks)
    put_beside(files, DIRECTORY_SEAL, text)


def put_beside(files: Files, name: str, data: bytes) -> None:
    """Write a small file of ours that belongs to a local listing, whole or not at all, in place of an older one."""
    root = files.location.url
    folder = (os.path.dirname(root) or ".") if files.location.kind is Kind.FILE else root
    path = os.path.join(folder, name)
    staged = os.path.join(folder, f".{name}{MARK}new-{os.getpid()}")
    syscalls.remove(staged)
    syscalls.write_file(staged, data)
    syscalls.rename(staged, path)
    syscalls.sync_directory(folder)
