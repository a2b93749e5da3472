"""Checkpoints to be written.

A sample's bytes, tied where that is asked for, and one that fails midway.
"""

from collections.abc import Iterator, Mapping

from ckpt_core.schema.access import Checkpoint, Files
from ckpt_core.schema.formats import Confidence, FormatMatch
from ckpt_core.schema.locations import Location, LocationKind
from ckpt_core.schema.manifests import Component, Manifest
from ckpt_core.schema.tensors import Box, TensorEntry, TensorTable
from ckpt_core.testing.samples import Sample


class SampleCheckpoint(Checkpoint):
    """One component that holds a sample's tensors.

    Args:
        sample: The tensors.
        component: The component's label.
        ties: Names of tensors that share the storage of another, with that one's name; both are in the sample.
    """

    def __init__(self, sample: Sample, component: str = "model", *, ties: Mapping[str, str] | None = None) -> None:
        kind, _, name = component.partition(":")
        ties = ties or {}
        entries = {
            key: TensorEntry(tensor.dtype, tensor.shape, (), ties.get(key)) for key, tensor in sample.tensors.items()
        }
        self.location = Location("sample", LocationKind.FILE)
        self.match = FormatMatch("sample", Confidence.CERTAIN, "made by a test")
        self.manifest = Manifest((Component(kind, TensorTable.of(entries), name=name),))
        self._tensors = sample.tensors

    def read(self, component: str, name: str, *, box: Box | None = None, out: memoryview | None = None) -> memoryview:
        raise NotImplementedError("a writer streams tensors")

    def stream(self, component: str, name: str) -> Iterator[tuple[memoryview, memoryview]]:
        data = memoryview(self._tensors[name].data)
        if len(data):
            yield data, data


class BreakingCheckpoint(Checkpoint):
    """Another checkpoint, whose last tensor cannot be read to its end.

    Part of it comes, then OSError.
    """

    def __init__(self, base: Checkpoint) -> None:
        self._base = base
        self.location, self.match, self.manifest = base.location, base.match, base.manifest
        component = [one for one in base.manifest.components if len(one.tensors)][-1]
        self._breaks = (component.label, list(component.tensors)[-1])

    def read(self, component: str, name: str, *, box: Box | None = None, out: memoryview | None = None) -> memoryview:
        return self._base.read(component, name, box=box, out=out)

    def stream(self, component: str, name: str) -> Iterator[tuple[memoryview, memoryview]]:
        for read, written in self._base.stream(component, name):
            yield read, written
            if (component, name) == self._breaks:
                raise OSError("the source broke off")

    def asset_files(self) -> Files:
        return self._base.asset_files()
