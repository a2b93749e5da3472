"""Reads ranks from the first bytes of a rank's file.

They tell if it has parts of tensors, whose it is, of how many.

Values are found by their keys, without reading the pickle: `_rank` of a DeviceMesh, `global_rank` of a ShardedTensor's
group. Source: torch `torch/distributed/device_mesh.py` (__getstate__), `_shard/sharded_tensor/metadata.py` and
`api.py`.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ckpt_core import CkptError, Files
from ckpt_core.codecs import sniff_pickle
from ckpt_fsdp.ranks.grouping import RankedFile

_CLASSES = ("DTensor", "ShardedTensor")
_MEMO = rb"(?:q.|r.{4}|\x94)?"
_INT = rb"(?:K(.)|M(..)|J(.{4}))"
_MESH_OF = re.compile(
    rb"torch(?:\x94\x8c.)?[\n ]?(?:Int|Long)Storage\n?"
    + _MEMO
    + rb"(?:X.{4}|\x8c.)(?:\d+)"
    + _MEMO
    # The device is a text, or one that came before.
    + rb"(?:h.|j.{4}|(?:X.{4}|\x8c.)[a-z:0-9]+"
    + _MEMO
    + rb")"
    + _INT,
    re.DOTALL,
)


class Told(NamedTuple):
    """The rank and number of ranks that a head tells.

    Attributes:
        rank: The rank that saved the file; None where it does not say.
        world: How many ranks share its tensors; None likewise.
    """

    rank: int | None
    world: int | None


def ranked_files(files: Files, paths: Iterable[str], judge: Callable[[bytes], Told | None]) -> Iterator[RankedFile]:
    """Yield the files that are one rank's.

    `judge` tells from their heads; Told(None, None) is passed over.

    Of those whose names differ in numbers alone, none has a rank where the first has none: a head is read for each of
    the others, and of a run of a thousand checkpoints that would be a thousand requests.
    """
    plain: set[tuple[str, ...]] = set()
    for path in paths:
        texts = tuple(re.split(r"\d+", path.rpartition("/")[2]))
        if texts in plain:
            continue
        try:
            head = files.head(path)
        except CkptError:
            continue  # opening says what is wrong with the place
        told = judge(head)
        if told is None and is_torch(head):
            plain.add(texts)
        elif told is not None and told != (None, None):
            yield RankedFile(path, told.rank, told.world)


def told(head: bytes) -> Told | None:
    """Return what a torch file's head says of ranks.

    None where no tensor in it is spread over any.
    """
    if not any(name.encode() in head for name in _CLASSES):
        return None
    seen = sniff_pickle(head)
    if seen is None or not _is_spread(seen.globals, seen.strings):
        return None
    rank = _number(head, b"_rank")
    rank = _number(head, b"global_rank") if rank is None else rank
    world = _number(head, b"global_world_size")
    return Told(rank, _mesh_size(head) if world is None else world)


def is_torch(head: bytes) -> bool:
    """Return True for the head of a torch file.

    Its pickle begins in it.
    """
    return sniff_pickle(head) is not None


def number_of(head: bytes, key: str) -> int | None:
    """Return the integer behind a key in a pickle's head."""
    return _number(head, key.encode())


def _is_spread(globals: frozenset[str], strings: tuple[str, ...]) -> bool:
    named = any(name.startswith("torch.distributed.") and name.endswith(_CLASSES) for name in globals)
    return named or (any(text.startswith("torch.distributed.") for text in strings) and bool({*strings} & {*_CLASSES}))


def _number(head: bytes, key: bytes) -> int | None:
    text = rb"(?:X" + re.escape(len(key).to_bytes(4, "little")) + rb"|\x8c" + re.escape(bytes([len(key)])) + rb")"
    match = re.search(text + re.escape(key) + _MEMO + _INT, head, re.DOTALL)
    return None if match is None else _value(match)


def _mesh_size(head: bytes) -> int | None:
    """Return the number of ranks in a mesh.

    It is the elements of the storage of the mesh's ranks.
    """
    at = head.find(b"DeviceMesh")
    match = _MESH_OF.search(head, at) if at >= 0 else None
    return None if match is None else _value(match)


def _value(match: re.Match[bytes]) -> int:
    digits = next(group for group in match.groups() if group is not None)
    return int.from_bytes(digits, "little", signed=len(digits) == 4)
