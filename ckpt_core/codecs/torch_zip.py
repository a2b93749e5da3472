"""The layout of torch.save since 1.6: a zip of `ROOT/data.pkl`, `ROOT/data/KEY`, `ROOT/byteorder`, `ROOT/version`.

Source: torch, `torch/serialization.py` (_save, _load) and `caffe2/serialize/inline_container.cc`.
"""

import re
from collections.abc import Mapping

from ckpt_core.codecs.pickle_records import StorageRecord
from ckpt_core.codecs.pickles import read_pickle
from ckpt_core.codecs.torch_files import TorchFile
from ckpt_core.codecs.torch_kinds import TAINT_RECORD, TorchKind
from ckpt_core.codecs.torch_tables import StorageError, tensor_table
from ckpt_core.codecs.zip_checks import check_local_headers, checksums_of, read_member
from ckpt_core.codecs.zips import Member, read_archive
from ckpt_core.errors import CorruptError, UnsupportedFormatError
from ckpt_core.schema.access import Files
from ckpt_core.schema.own_names import TAINT
from ckpt_core.schema.tensors import TensorTable
from ckpt_core.schema.text import printable

_NEWEST = 10
"""Source: torch, `caffe2/serialize/versions.h` (kMaxSupportedFileFormatVersion)."""


def read_zip(files: Files, path: str) -> TorchFile:
    """Read a torch zip file; `torch_files.read_torch_file` says what is raised."""
    members = read_archive(files, path)
    root = _root(path, members)
    order = _byte_order(files, path, members.get(f"{root}/byteorder"))
    stream = read_member(files, path, members[f"{root}/data.pkl"])
    pickle = read_pickle(stream, path=path)
    tensors = tensor_table(
        pickle.tree.tensors,
        path=path,
        place=lambda storage: _place(path, members, root, storage),
        little_endian=order == "little",
    )
    version = members.get(f"{root}/version")
    metadata = {"byte_order": order, "attributes": pickle.tree.attributes}
    if version is not None:
        metadata["torch_zip_version"] = _version(files, path, version)
    tainted = members.get(f"{root}/{TAINT_RECORD}")
    if tainted is not None:
        metadata[TAINT] = read_member(files, path, tainted).decode("utf-8", "replace")
    return TorchFile(
        path=path,
        kind=TorchKind.ZIP,
        root=pickle.tree.root,
        tensors=tensors,
        globals=pickle.globals,
        findings=pickle.findings,
        metadata=metadata,
        sharded=pickle.tree.sharded,
        _prove=lambda: check_local_headers(files, path, list(members.values())),
        _checksums=lambda file: checksums_of(
            path, members.values(), stored_in=lambda member: _names_in(file.tensors, member)
        ),
    )


def _root(path: str, members: Mapping[str, Member]) -> str:
    """The folder that everything in the archive lies in: that of its first record."""
    root = next(iter(members), "").partition("/")[0]
    if f"{root}/constants.pkl" in members:
        reason = "it is TorchScript, a program; export its weights with torch.save(module.state_dict(), …)"
    elif f"{root}/data.pkl" not in members:
        reason = "a zip archive without data.pkl, which torch.save did not write; unpack it"
    else:
        return root
    raise UnsupportedFormatError(f"{printable(path)}: {reason}", code="TF006", path=path)


def _byte_order(files: Files, path: str, member: Member | None) -> str:
    """`little` or `big`; torch takes files without the record for little, on every machine."""
    content = b"little" if member is None else read_member(files, path, member)
    if content not in (b"little", b"big"):
        raise CorruptError(
            f"{printable(path)}: its byte order is {content[:20]!r}; get the file again", code="TF001", path=path
        )
    return content.decode()


def _version(files: Files, path: str, member: Member) -> str:
    """The version of the layout, a number that torch is known to write or read."""
    content = read_member(files, path, member)
    if not re.fullmatch(rb"\s*\d{1,18}\s*", content):
        raise CorruptError(
            f"{printable(path)}: its version is {content[:20]!r}; get the file again", code="TF001", path=path
        )
    if int(content) > _NEWEST:
        raise UnsupportedFormatError(
            f"{printable(path)}: version {int(content)} of the layout, and {_NEWEST} is the newest that is known; "
            "get a newer ckpt",
            code="TF006",
            path=path,
        )
    return content.decode().strip()


def _place(path: str, members: Mapping[str, Member], root: str, storage: StorageRecord) -> tuple[int, int]:
    member = members.get(f"{root}/data/{storage.key}")
    length = storage.numel * storage.itemsize
    if member is None:
        raise StorageError(f"its storage data/{printable(storage.key)} is missing")
    if member.deflated:
        raise UnsupportedFormatError(
            f"{printable(path)}: its storage data/{printable(storage.key)} is compressed, so its tensors have no place "
            "in the file; load it with torch and save it again",
            code="TF006",
            path=path,
        )
    if length != member.size:
        raise StorageError(
            f"its storage data/{printable(storage.key)} has {member.size} bytes, and {length} are claimed"
        )
    return member.data_offset, length


def _names_in(tensors: TensorTable, member: Member) -> list[str]:
    return [
        name
        for name in tensors
        for chunk in tensors[name].chunks
        if chunk.stored and member.data_offset <= chunk.stored.offset < member.end
    ]
