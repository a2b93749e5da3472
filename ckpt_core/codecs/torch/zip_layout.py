"""Reads the layout of torch.save since 1.6.

It is a zip of `ROOT/data.pkl`, `ROOT/data/KEY`, `ROOT/byteorder`, `ROOT/version`.

Source: torch, `torch/serialization.py` (_save, _load) and `caffe2/serialize/inline_container.cc`.
"""

from collections.abc import Collection, Mapping
from shlex import quote
from types import MappingProxyType
from typing import NamedTuple

from ckpt_core.codecs.heads.torch import TAINT_RECORD, TorchKind
from ckpt_core.codecs.pickle.reader import read_pickle
from ckpt_core.codecs.pickle.records import StorageRecord, TensorRecord
from ckpt_core.codecs.pickle.sharded_tensors import ShardedRecord, Sharding
from ckpt_core.codecs.torch.file import TorchFile
from ckpt_core.codecs.torch.programs import CONSTANTS, exported, is_exported, joined_script, unread
from ckpt_core.codecs.torch.tables import StorageError, tensor_table
from ckpt_core.codecs.torch.zip_records import check_id, check_root, read_version, strangers
from ckpt_core.codecs.zip.checks import check_local_headers, checksums_of, read_member
from ckpt_core.codecs.zip.directory import Member, read_archive
from ckpt_core.errors import CorruptError, UnsupportedFormatError
from ckpt_core.schema.access import Files
from ckpt_core.schema.findings import Finding
from ckpt_core.schema.side_files.reserved_names import TAINT
from ckpt_core.schema.state import State
from ckpt_core.schema.tensors import TensorTable
from ckpt_core.schema.text import printable


def read_zip(files: Files, path: str) -> TorchFile:
    """Read a torch zip file.

    `reader.read_torch_file` says what is raised.
    """
    members = read_archive(files, path)
    root = _root(path, members)
    content = _content(files, path, members, root)  # what would run code is said first
    check_root(path, members, root)
    version = read_version(files, path, members, root)
    order = _byte_order(files, path, members.get(f"{root}/byteorder"))
    tensors = tensor_table(
        content.tensors,
        path=path,
        place=lambda storage: _place(path, members, root, storage),
        little_endian=order == "little",
    )
    metadata = {"byte_order": order, "torch_zip_version": version, "attributes": content.attributes}
    tainted = members.get(f"{root}/{TAINT_RECORD}")
    if tainted is not None:
        metadata[TAINT] = read_member(files, path, tainted).decode("utf-8", "replace")
    return TorchFile(
        path=path,
        kind=content.kind,
        root=content.root,
        tensors=tensors,
        globals=content.globals,
        findings=(*content.findings, *strangers(files, path, members, root, content.kind, content.storages)),
        metadata=metadata,
        sharded=content.sharded,
        _prove=lambda: _prove(files, path, members, root),
        _checksums=lambda file: checksums_of(
            path, members.values(), stored_in=lambda member: _names_in(file.tensors, member)
        ),
    )


def _prove(files: Files, path: str, members: Mapping[str, Member], root: str) -> None:
    check_local_headers(files, path, list(members.values()))
    check_id(files, path, members, root)


class _Content(NamedTuple):
    """The content of an archive's records.

    The tensors in it have no places yet.
    """

    kind: TorchKind
    root: State
    tensors: Mapping[str, TensorRecord | ShardedRecord]
    findings: tuple[Finding, ...]
    globals: tuple[str, ...] = ()
    attributes: Mapping[str, State] = MappingProxyType({})
    sharded: Mapping[str, Sharding] = MappingProxyType({})
    storages: Collection[str] = ()


def _content(files: Files, path: str, members: Mapping[str, Member], root: str) -> _Content:
    """Read what torch.save, torch.jit.save or torch.export.save wrote.

    The records that there are tell which.
    """
    if f"{root}/data.pkl" not in members:
        state, tensors, notes = exported(members, root, path, lambda member: read_member(files, path, member))
        code = [name.partition("/")[2] for name in members if name.startswith((f"{root}/models/", f"{root}/extra/"))]
        return _Content(TorchKind.EXPORTED, state, tensors, (unread(path, "a program of torch.export", code), *notes))
    pickle = read_pickle(read_member(files, path, members[f"{root}/data.pkl"]), path=path)
    tree = pickle.tree
    content = _Content(
        TorchKind.ZIP,
        tree.root,
        tree.tensors,
        pickle.findings,
        pickle.globals,
        tree.attributes,
        tree.sharded,
        pickle.storages,
    )
    constants = members.get(f"{root}/{CONSTANTS}.pkl")
    if constants is None:
        return content
    beside = read_pickle(read_member(files, path, constants), path=path)
    state, joined = joined_script(pickle, beside)
    code = [name.partition("/")[2] for name in members if name.startswith(f"{root}/code/")]
    notes = [unread(path, "a program of TorchScript", [name for name in code if name.endswith(".py")])]
    return content._replace(kind=TorchKind.SCRIPT, root=state, tensors=joined, findings=(*pickle.findings, *notes))


def _root(path: str, members: Mapping[str, Member]) -> str:
    """Return the folder that all records lie in.

    It is that of the first record.
    """
    root = next(iter(members), "").partition("/")[0]
    if f"{root}/data.pkl" not in members and not is_exported(members, root):
        reason = "a zip archive without data.pkl, which torch.save did not write; unpack it with "
        reason += f"python -m zipfile -e {quote(printable(path))} FOLDER, and give ckpt what was in it"
    else:
        return root
    raise UnsupportedFormatError(f"{printable(path)}: {reason}", code="TF006", path=path)


def _byte_order(files: Files, path: str, member: Member | None) -> str:
    """Return `little` or `big`.

    Torch takes files without the record for little, on every machine.
    """
    content = b"little" if member is None else read_member(files, path, member)
    if content not in (b"little", b"big"):
        raise CorruptError(
            f"{printable(path)}: its byte order is {content[:20]!r}; get the file again", code="TF001", path=path
        )
    return content.decode()


def _place(path: str, members: Mapping[str, Member], root: str, storage: StorageRecord) -> tuple[int, int]:
    folder = "" if storage.type_name == "torch.export" else f"{root}/"
    folder = folder if storage.key.startswith(f"{CONSTANTS}/") or not folder else f"{folder}data/"
    member = members.get(f"{folder}{storage.key}")
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
