"""The two questions about a place: what is there, what files."""

from typing import TYPE_CHECKING

from ckpt_core.schema.locations import LocationKind
from ckpt_core.storage.urls import local_path

if TYPE_CHECKING:
    from ckpt_core.schema.access import Files
    from ckpt_core.schema.formats import FormatMatch


def probe(ref: str, *, wanted: LocationKind | None = None) -> LocationKind | None:
    """Return the kind of place that a path or URL leads to.

    None for nothing. `wanted` is what should be there, where that is known.

    Raises:
        UnreachableError: The place does not answer, or may not be read.
    """
    path = local_path(ref)
    if path is not None:
        from ckpt_core.storage.files import probe as probing

        return probing.probe(path, wanted=wanted)
    from ckpt_core.storage.files import remote

    return remote.probe_remote(ref)


def why_missing(ref: str) -> tuple[str, str]:
    """Return why a URL leads to nothing, and the next step.

    "" for what goes without saying, and for paths.
    """
    if local_path(ref) is not None:
        return "", ""
    from ckpt_core.storage.files import remote

    return remote.why_missing(ref)


def list_files(ref: str) -> "Files":
    """The listing of a path or URL, taken once.

    Raises:
        CheckpointNotFoundError: Nothing is there.
        UnreachableError: The place does not answer, or may not be read.
    """
    path = local_path(ref)
    if path is not None:
        from ckpt_core.storage.files import local

        return local.list_local(path)
    from ckpt_core.storage.files import remote

    return remote.list_remote(ref)


def files_of(files: "Files", match: "FormatMatch") -> "Files":
    """The listing of what a claim on a listing is about."""
    if match.root not in match.files:
        return files.below(match.root) if match.root else files
    from ckpt_core.storage.files.chosen import ChosenFiles

    folder, _, _ = match.root.rpartition("/")
    names = [path.rpartition("/")[2] for path in (match.root, *match.files)]
    return ChosenFiles(files.below(folder) if folder else files, list(dict.fromkeys(names)))
