"""A seal brought up to what a repair wrote.

Everything else keeps its digests.
"""

from collections.abc import Sequence
from dataclasses import replace

from ckpt_core.errors import CorruptError
from ckpt_core.schema.access import Files
from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.repairs import Operation, RepairAction
from ckpt_core.schema.side_files.reserved_names import BLOCKS, DIRECTORY_SEAL, FILE_SUFFIX
from ckpt_core.schema.side_files.seals import pack
from ckpt_core.storage.sealing import digests_of, read_seal


def entered(files: Files, actions: Sequence[RepairAction], mended: Files) -> list[RepairAction]:
    """Return the seal with the changes of the actions entered.

    All else is as it was sealed; nothing where there is no seal.

    What is not changed keeps the digests it was sealed with, so that damage to it still shows.
    """
    try:
        seal = read_seal(mended)
    except CorruptError:
        return []  # which verifying says; nothing is entered in what cannot be read
    if seal is None:
        return []
    changed = {path for action in actions for path in (action.path, action.source) if path}
    new = {path: digests_of(mended, path) for path in changed if path in mended.entries}
    files_now = {**{path: file for path, file in seal.files.items() if path not in changed}, **new}
    if files_now == dict(seal.files):
        return []
    one = files.location.kind is LocationKind.FILE
    name = next(iter(files.entries)) + FILE_SUFFIX if one else DIRECTORY_SEAL
    text, blocks = pack(replace(seal, files=files_now), apart=not one)
    summary = "enter in the seal what was mended; all else stays as it was sealed"
    made = [RepairAction(summary, Operation.WRITE, name, text)]
    return made if one else [*made, RepairAction("the digests of the seal", Operation.WRITE, BLOCKS, blocks)]
