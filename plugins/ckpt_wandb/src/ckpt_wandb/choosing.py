"""The choice of files in an artifact.

It says by what name each will lie in a folder, and that none of them leaves it.
"""

from collections.abc import Iterable, Mapping

from ckpt_core import CheckpointNotFoundError, UnsafeContentError, printable
from ckpt_wandb.artifacts import Entry, PinnedArtifact

UNFINISHED = ".ckpt-wandb-unfinished"
"""The end of a file's name while its bytes come."""


def chosen(artifact: PinnedArtifact, inside: str = "") -> Mapping[str, Entry]:
    """Return the files below a folder of an artifact.

    They are given by their paths from there; a file is one of its own.

    Raises:
        CheckpointNotFoundError: There is no such folder or file.
        UnsafeContentError: A name leads out of the folder, or two files cannot lie in one.
    """
    inside = inside.strip("/")
    entries = artifact.entries
    if inside in entries:
        wanted = {inside.rpartition("/")[2]: entries[inside]}
    else:
        start = f"{inside}/" if inside else ""
        wanted = {path[len(start) :]: entry for path, entry in entries.items() if path.startswith(start)}
    if not wanted:
        what = f"nothing below {printable(inside)} in it" if inside else "it holds no files"
        raise CheckpointNotFoundError(f"{artifact.ref}: {what}; run ckpt inspect {artifact.ref}")
    _check(artifact, wanted)
    return wanted


def _check(artifact: PinnedArtifact, paths: Iterable[str]) -> None:
    known = set(paths)
    for path in known:
        parts = path.split("/")
        folders = {"/".join(parts[:count]) for count in range(1, len(parts))}
        if not {"", ".", ".."}.isdisjoint(parts) or "\0" in path or folders & known or path.endswith(UNFINISHED):
            raise UnsafeContentError(
                f"{artifact.ref}: holds a file named {printable(path)}, which no folder can; nothing was downloaded"
            )
