"""The two questions about a place: what is there, what files."""

import os
from typing import TYPE_CHECKING

from ckpt_core.schema.locations import LocationKind
from ckpt_core.storage.urls import local_path
from ckpt_core.storage.versions.names import SIGN, split_version

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

        return probing.probe(path, wanted=wanted) or _probe_version(ref)
    found = _probe_version(ref)
    if found is not None:
        return found
    from ckpt_core.storage.files import remote

    return remote.probe_remote(ref)


def _probe_version(ref: str) -> LocationKind | None:
    if split_version(ref) is None:
        return None
    from ckpt_core.storage.versions.opening import probe_version

    return probe_version(ref)


def why_missing(ref: str) -> tuple[str, str]:
    """Return why a ref leads to nothing, and the next step.

    "" for what goes without saying, and for paths.
    """
    if split_version(ref) is not None:
        from ckpt_core.storage.versions.opening import why_no_version

        why = why_no_version(ref)
        if why[0]:
            return why
    if local_path(ref) is not None:
        return "", ""
    from ckpt_core.storage.files import remote

    return remote.why_missing(ref)


def list_files(ref: str) -> "Files":
    """The listing of a path or URL, taken once.

    Of a store of versions that is its sign alone, of `STORE@v3` the files of that version.

    Raises:
        CheckpointNotFoundError: Nothing is there.
        UnreachableError: The place does not answer, or may not be read.
    """
    path = local_path(ref)
    found = _listed_version(ref, path)
    if found is not None:
        return found
    if path is not None:
        from ckpt_core.storage.files import local

        return local.list_local(path)
    from ckpt_core.storage.files import remote

    listed = remote.list_remote(ref)
    return _store(ref) or listed if SIGN in listed.entries else listed


def _listed_version(ref: str, path: str | None) -> "Files | None":
    """Return the listing of a version, or of a local store.

    None for what is neither.
    """
    if path is not None and os.path.lexists(os.path.join(path, SIGN)):
        return _store(ref)
    if split_version(ref) is None or (path is not None and os.path.lexists(path)):
        return None
    from ckpt_core.storage.versions.opening import list_version

    return list_version(ref)


def is_version_store(ref: str) -> bool:
    """Return True where a ref is a store of versions itself."""
    path = local_path(ref)
    if path is not None:
        return os.path.lexists(os.path.join(path, SIGN))
    return split_version(f"{ref}@latest") is not None and _store(ref) is not None


def _store(ref: str) -> "Files | None":
    from ckpt_core.storage.versions.opening import list_store

    return list_store(ref)


def files_of(files: "Files", match: "FormatMatch") -> "Files":
    """The listing of what a claim on a listing is about."""
    if match.root not in match.files:
        return files.below(match.root) if match.root else files
    from ckpt_core.storage.files.chosen import ChosenFiles

    folder, _, _ = match.root.rpartition("/")
    names = [path.rpartition("/")[2] for path in (match.root, *match.files)]
    return ChosenFiles(files.below(folder) if folder else files, list(dict.fromkeys(names)))
