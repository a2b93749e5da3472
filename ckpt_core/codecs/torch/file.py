"""An open torch file.

It has its tree, its tables, and where each tensor lies.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ckpt_core.codecs.heads.torch import TorchKind
from ckpt_core.schema.tensors import TensorTable

if TYPE_CHECKING:
    from ckpt_core.codecs.pickle.sharded_tensors import Sharding
    from ckpt_core.schema.byte_consumers import Checksum
    from ckpt_core.schema.findings import Finding
    from ckpt_core.schema.state import State


@dataclass(slots=True)
class TorchFile:
    """The content of a torch file.

    Attributes:
        path: The file, relative to the listing's root.
        kind: Its layout.
        root: The saved object as plain state; its tensor leaves name rows of `tensors`.
        tensors: The tensors under the dotted path of keys and indexes from the root, in file order; a file that is one
            tensor names it `tensor`.
        globals: Every name that its pickle asks for, sorted. None was imported.
        findings: What the reader noticed.
        metadata: `byte_order`, `torch_zip_version` of a zip, and `attributes`: what was set on dicts and
            tensors besides their content, by dotted path (a state dict's `_metadata`).
        sharded: How those tensors are spread over ranks of which the file has one rank's part, by dotted path; in
            `tensors` they have the shape of the whole, and the chunks that are here.
    """

    path: str
    kind: TorchKind
    root: "State"
    tensors: TensorTable
    globals: tuple[str, ...]
    findings: "tuple[Finding, ...]"
    metadata: Mapping[str, Any]
    _prove: Callable[[], None]
    _checksums: "Callable[[TorchFile], list[Checksum]]"
    sharded: "Mapping[str, Sharding]" = field(default_factory=dict)
    _settled: bool = field(default=False, init=False)

    def confirm(self) -> None:
        """Prove once where the tensors lie, from the file's headers.

        Run before their bytes are read.

        Raises:
            CorruptError: ZP003 or TF003, a header contradicts them.
        """
        if not self._settled:
            self._prove()
            self._settled = True

    def checksums(self) -> "list[Checksum]":
        """Return the file's checksums, for a walk over its bytes.

        They find ZP004, ZP005 or TF008.
        """
        return self._checksums(self)
