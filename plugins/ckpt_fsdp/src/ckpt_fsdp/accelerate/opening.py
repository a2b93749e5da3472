"""The `fsdp` format: what Accelerate keeps in files of its own; the directories of DCP in it are joined by core."""

from ckpt_core import (
    Asset,
    Files,
    FormatMatch,
    LoadRequest,
    Presence,
    StoredCheckpoint,
    UnsupportedFormatError,
    printable,
)
from ckpt_core.codecs.pieces import Pieces
from ckpt_fsdp.accelerate.detection import FLAT
from ckpt_fsdp.accelerate.names import MODEL, OPTIMIZER, Found, survey


def read(files: Files, match: FormatMatch, request: LoadRequest) -> StoredCheckpoint:
    """Read what lies beside the directories of DCP; core opens those as parts of the match.

    Raises:
        UnsupportedFormatError: Nothing here has Accelerate's names, or it is flat parameters (FS001).
        UnsafeContentError: PK003, a file would run code.
    """
    found = survey(files.entries).get("")
    if found is None:
        text = f"{files.location}: no {MODEL}_0 and no {MODEL}.bin here; check the name"
        raise UnsupportedFormatError(text, code="CK016")
    if found.flat:
        raise UnsupportedFormatError(f"{printable(found.flat[0])}: {FLAT}", code="FS001", path=found.flat[0])
    pieces = Pieces(files)
    _add_full(pieces, found)
    for kind, name, path in sorted(found.beside):
        pieces.torch_component(kind, path, name=name)
    _say_absent(pieces, found)
    return pieces.checkpoint(match, assets=_assets(files, pieces))


def _add_full(pieces: Pieces, found: Found) -> None:
    for kind, files in (("model", found.full_models), ("optimizer", found.full_optimizers)):
        for number, path in sorted(files.items()):
            pieces.torch_component(kind, path, name=str(number or ""))


def _say_absent(pieces: Pieces, found: Found) -> None:
    """What a save of Accelerate always has, and this one has not; a save of two ranks has two states of rng."""
    if not found.has_model:
        pieces.role("model", Presence.ABSENT, f"{MODEL}_0")
    if not found.optimizers and not found.full_optimizers:
        pieces.role("optimizer", Presence.ABSENT, f"{OPTIMIZER}_0")
    kept = {name for kind, name, _ in found.beside if kind == "rng"}
    ranks = max([found.ranks, *(int(name) + 1 for name in kept)])
    for rank in range(ranks):
        if str(rank) not in kept:
            pieces.role("rng", Presence.ABSENT, f"random_states_{rank}.pkl", name=str(rank))


def _assets(files: Files, pieces: Pieces) -> list[Asset]:
    taken = {role.where for role in pieces.roles}
    return [Asset(path, entry.size) for path, entry in files.entries.items() if "/" not in path and path not in taken]
