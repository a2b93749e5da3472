"""Opens the format `fsdp`.

It reads what Accelerate keeps in files of its own; core joins the directories of DCP in it.
"""

from collections.abc import Mapping

from ckpt_core import (
    Asset,
    Files,
    FormatMatch,
    LoadRequest,
    Presence,
    Profile,
    StoredCheckpoint,
    UnsupportedFormatError,
    printable,
)
from ckpt_core.layouts import CheckpointBuilder
from ckpt_fsdp.accelerate.detection import FLAT
from ckpt_fsdp.accelerate.names import MODEL, OPTIMIZER, DirectoryContent, survey
from ckpt_fsdp.accelerate.training_state import add_beside


def read(files: Files, match: FormatMatch, request: LoadRequest) -> StoredCheckpoint:
    """Read the files beside the directories of DCP.

    Core opens those as parts of the match.

    Raises:
        UnsupportedFormatError: Nothing here has Accelerate's names, or it is flat parameters (FS001).
        UnsafeContentError: PK003, a file would run code.
    """
    content = survey(files.entries).get("")
    if content is None:
        text = f"{files.location}: no {MODEL}_0 and no {MODEL}.bin here; check the name"
        raise UnsupportedFormatError(text, code="CK016")
    if content.flat:
        raise UnsupportedFormatError(f"{printable(content.flat[0])}: {FLAT}", code="FS001", path=content.flat[0])
    builder = CheckpointBuilder(files)
    _add_numbered(builder, content, "model", content.models, content.full_models)
    _add_numbered(builder, content, "optimizer", content.optimizers, content.full_optimizers)
    add_beside(builder, content)
    return builder.checkpoint(match, assets=_assets(files, builder))


def _add_numbered(
    builder: CheckpointBuilder,
    content: DirectoryContent,
    kind: str,
    folders: Mapping[int, str],
    whole: Mapping[int, str],
) -> None:
    """Add the files with whole state dicts.

    A number that neither a file nor a directory has is noted as absent.

    Args:
        builder: What the directory has so far.
        content: What lies in it.
        kind: Models or optimizers.
        folders: Their directories of DCP, by number: core opens them.
        whole: Their files, by number.
    """
    stem, least = (MODEL, content.least_models) if kind == "model" else (OPTIMIZER, content.least_optimizers)
    needed_for = Profile.INFERENCE if kind == "model" else None
    for number in range(max(least, *(known + 1 for known in (*folders, *whole, 0)))):
        name = str(number or "")
        if number in whole:
            builder.torch_component(kind, whole[number], name=name)
        elif number not in folders:
            path = f"{stem}{f'_{number}' if number else ''}.bin" if content.is_full else f"{stem}_{number}"
            builder.role(kind, Presence.ABSENT, path, name=name, needed_for=needed_for)


def _assets(files: Files, builder: CheckpointBuilder) -> list[Asset]:
    taken = {role.where for role in builder.roles}
    return [Asset(path, entry.size) for path, entry in files.entries.items() if "/" not in path and path not in taken]
