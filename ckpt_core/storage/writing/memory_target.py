"""A destination in fsspec's memory filesystem, which ends with the process: for tests and for trying things out."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ckpt_core.arguments import argument
from ckpt_core.errors import OverwriteError
from ckpt_core.schema.locations import Location, LocationKind
from ckpt_core.schema.side_files.reserved_names import DIRECTORY_SEAL, FILE_SUFFIX
from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    from ckpt_core.storage.writing.staged_target import StagedTarget


@contextmanager
def open_memory_target(
    url: str, *, format: str, kind: LocationKind, options: Mapping[str, Any] | None, replace: bool
) -> Iterator["StagedTarget"]:
    """Stage on a local disk; what was committed there is put into memory at the end, the seal last.

    Raises:
        OverwriteError: Something is there, and `replace` is not set.
    """
    from fsspec.core import url_to_fs

    from ckpt_core.storage.writing.open_local import open_local_target

    filesystem, place = url_to_fs(url)
    if filesystem.exists(place) and not replace:
        raise OverwriteError(
            f"{printable(url)}: exists; choose another place, or {argument('force', True)} to replace it"
        )
    location = Location(url, kind)
    with tempfile.TemporaryDirectory() as folder:
        local = os.path.join(folder, location.name)
        with open_local_target(local, format=format, kind=kind, options=options) as target:
            target.location = location
            yield target
        if filesystem.exists(place):
            filesystem.rm(place, recursive=True)
        for path in _seals_last(folder):
            filesystem.put_file(os.path.join(folder, path), f"{os.path.dirname(place)}/{path}")


def _seals_last(folder: str) -> list[str]:
    """Every file below a folder, relative to it; what makes a checkpoint count as whole comes at the end."""
    paths = [os.path.relpath(os.path.join(root, name), folder) for root, _, names in os.walk(folder) for name in names]
    return sorted(paths, key=lambda path: (path.endswith((DIRECTORY_SEAL, FILE_SUFFIX)), path))
