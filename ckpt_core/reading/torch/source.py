"""`TensorSource`: the checkpoint interface for filling torch tensors."""

from typing import Protocol

from ckpt_core.schema.access import Files
from ckpt_core.schema.locations import Location
from ckpt_core.schema.manifests import Component, Manifest
from ckpt_core.schema.tensors import Box


class TensorSource(Protocol):
    """A checkpoint whose bytes lie in listed files. `StoredCheckpoint` is one."""

    files: Files
    location: Location
    manifest: Manifest

    def component(self, label: str | None = None) -> Component: ...

    def read(
        self, component: str, name: str, *, box: Box | None = None, out: memoryview | None = None
    ) -> memoryview: ...

    def confirm(self) -> None: ...

    def prove(self, component: str, name: str) -> None: ...

    def finish(self) -> None: ...
