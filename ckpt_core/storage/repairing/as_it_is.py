"""The files of a listing as a plan.

Each of them is carried over byte for byte, in slabs.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ckpt_core.schema.access import Checkpoint, Files, Progress
from ckpt_core.schema.formats import Confidence, FormatMatch
from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.manifests import Manifest
from ckpt_core.schema.plans import AssetBytes, FilePlan, Literal, Section, WritePlan
from ckpt_core.schema.side_files.reserved_names import TAINTED_FILE
from ckpt_core.schema.side_files.taint import as_file
from ckpt_core.schema.tensors import Box
from ckpt_core.storage.files.wrapped import WrappedFiles

if TYPE_CHECKING:
    from ckpt_core.storage.writing.staged_target import StagedTarget


def plan_of_files(files: Files, target: "StagedTarget", tainted: Mapping[str, str]) -> WritePlan:
    """Return the files of a listing for a target.

    What a directory says of its taint is among them; it is what it says now, unless another is given.
    """
    if target.location.kind is LocationKind.FILE:
        (path,) = files.entries
        return WritePlan((FilePlan(target.name, _carried(files, path)),))
    said = as_file(tainted) if tainted else files.read(TAINTED_FILE) if TAINTED_FILE in files.entries else None
    plans = [FilePlan(path, _carried(files, path)) for path in files.entries if path != TAINTED_FILE]
    if said is not None:
        plans.append(FilePlan(TAINTED_FILE, (Literal(said),)))
    return WritePlan(tuple(plans))


def _carried(files: Files, path: str) -> tuple[Section, ...]:
    return (AssetBytes(path, files.size(path)),)


class FilesToCopy(Checkpoint):
    """A listing taken for a checkpoint of no tensors.

    All of its files are carried over.

    Args:
        files: The listing.
        progress: Told of the bytes that are read of it.
    """

    def __init__(self, files: Files, progress: Progress | None) -> None:
        self.location = files.location
        self.match = FormatMatch("", Confidence.CERTAIN, "as it is")
        self.manifest = Manifest(())
        self._files = files if progress is None else _Told(files, progress)

    def read(self, component: str, name: str, *, box: Box | None = None, out: memoryview | None = None) -> memoryview:
        raise KeyError(name)

    def stream(self, component: str, name: str) -> Iterator[tuple[memoryview, memoryview]]:
        raise KeyError(name)

    def asset_files(self) -> Files:
        return self._files


class _Told(WrappedFiles):
    """A listing whose reads are told to a progress."""

    def __init__(self, inner: Files, progress: Progress) -> None:
        super().__init__(inner)
        self._progress = progress
        progress.begin(sum(entry.size for entry in inner.entries.values()))

    def read_into(self, path: str, offset: int, out: memoryview) -> None:
        self.inner.read_into(path, offset, out)
        self._progress.advance(len(out))
