"""Tells the committed files of a place without renaming.

Such is a directory that has its seal, with the generation that it names.

A directory that ckpt writes into a store has a mark until its seal is there. What replaces its content lies in a folder
of its own, a generation, which the seal at the root names; everything else below the root is left over then.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ckpt_core.errors import CorruptError
from ckpt_core.schema.side_files.reserved_names import DIRECTORY_SEAL, GENERATION, MARK, UNFINISHED
from ckpt_core.schema.side_files.seals import generation_of, is_seal
from ckpt_core.schema.text import printable, redact

NOT_FINISHED = "written by ckpt and not finished"


@dataclass(frozen=True, slots=True)
class Committed:
    """The files of a listing that count.

    Attributes:
        names: What the place calls each path that is left, generations by the paths that they have for a reader.
        generations: The folder that holds what counts, by the directory that it is the content of; "" is the root.
        unfinished: Directories that are no checkpoints yet.
    """

    names: Mapping[str, str]
    generations: Mapping[str, str] = field(default_factory=dict)
    unfinished: tuple[str, ...] = ()


def committed(names: Mapping[str, str], read: Callable[[str], bytes | None]) -> Committed:
    """Return the files of a listing that count.

    Args:
        names: What the place calls each path.
        read: All bytes of a small file, by its path; None where it is gone.
    """
    if not any(MARK in path for path in names):
        return Committed(names)
    generations: dict[str, str] = {}
    for folder in _folders_with(names, GENERATION):
        chosen = generation_of(_seal(names, folder, read))
        if chosen:
            generations[folder] = chosen
    unfinished = [
        folder
        for folder in _folders_with(names, UNFINISHED)
        if folder not in generations and not is_seal(_seal(names, folder, read))
    ]
    return Committed(_chosen(names, generations), generations, tuple(unfinished))


def refuse_unfinished(url: str, found: Committed) -> None:
    """Refuse an unfinished place.

    CorruptError: WR001 where the place itself is not finished, WR002 where what its seal names is not there.
    """
    if "" in found.unfinished:
        raise CorruptError(
            f"{redact(url)}: {NOT_FINISHED}; wait for its writer; where that was stopped, run the same command again, "
            "or remove it with ckpt clean",
            code="WR001",
        )
    generation = found.generations.get("")
    if generation and not found.names.keys() - {DIRECTORY_SEAL}:
        raise CorruptError(
            f"{redact(url)}: its seal says that its content is in {printable(generation)}, where nothing is; copy it "
            "again from where it came from",
            code="WR002",
        )


def _folders_with(names: Mapping[str, str], mark: str) -> list[str]:
    """The directories that have something of this name in them."""
    found = {
        "/".join(parts[:number])
        for path in names
        if mark in path
        for parts in [path.split("/")]
        for number, part in enumerate(parts)
        if part.startswith(mark)
    }
    return sorted(found)


def _seal(names: Mapping[str, str], folder: str, read: Callable[[str], bytes | None]) -> bytes:
    """The content of a directory's seal; nothing where there is none."""
    path = f"{folder}/{DIRECTORY_SEAL}" if folder else DIRECTORY_SEAL
    return (read(path) or b"") if path in names else b""


def _chosen(names: Mapping[str, str], generations: Mapping[str, str]) -> dict[str, str]:
    """Return the names with each generation's content in place.

    It stands for all else below its directory, but for the seals.
    """
    kept = dict(names)
    for folder, generation in generations.items():
        root = f"{folder}/" if folder else ""
        within = f"{root}{generation}/"
        held = {root + path.removeprefix(within): full for path, full in kept.items() if path.startswith(within)}
        seal = root + DIRECTORY_SEAL
        kept = {path: full for path, full in kept.items() if not path.startswith(root) or path == seal} | held
    return kept
