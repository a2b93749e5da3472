"""The seven hooks, the markers, and the types of `pm.hook`.

`Hooks` tells a type checker what `pm.hook` has.

Each parameter is an object that can grow. An implementation may take fewer parameters than its specification has.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

if TYPE_CHECKING:
    from ckpt_core.schema.access import Checkpoint, Files, Target
    from ckpt_core.schema.findings import Finding
    from ckpt_core.schema.formats import Detection, Format, FormatMatch, LoadRequest
    from ckpt_core.schema.locations import Candidate, Query, Resolution
    from ckpt_core.schema.manifests import Manifest
    from ckpt_core.schema.repairs import Irreparable, RepairAction, RepairPlan, RepairRequest
    from ckpt_core.schema.verification import VerifyReport, VerifyRequest

PROJECT = "ckpt_core"
ENTRY_POINT_GROUP = "ckpt_core.plugins"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Specs:
    """The specifications. Each docstring's first line is what an implementation does."""

    @hookspec
    def formats(self) -> "Sequence[Format]":  # type: ignore[empty-body]
        """Name the formats this plugin owns."""

    @hookspec
    def locate(self, query: "Query") -> "Iterable[Candidate] | None":
        """Propose places where the asked checkpoint may be.

        Do not look whether they exist: core probes them.
        """

    @hookspec
    def detect_format(self, files: "Files") -> "Iterable[FormatMatch] | None":
        """Claim what this plugin's formats recognise; unpickle nothing.

        Go by names and `files.head(path)` only.
        """

    @hookspec(firstresult=True)
    def load(self, files: "Files", match: "FormatMatch", request: "LoadRequest") -> "Checkpoint | None":
        """Open a checkpoint of an own format, reading headers alone.

        No tensor is read.
        """

    @hookspec(firstresult=True)
    def save(self, checkpoint: "Checkpoint", target: "Target") -> "Manifest | None":
        """Write a checkpoint in an own format to a staged place."""

    @hookspec
    def verify(
        self, files: "Files", checkpoint: "Checkpoint | None", request: "VerifyRequest"
    ) -> "Iterable[Finding] | None":
        """Find what is wrong beyond core's own checks.

        Core checks from the manifest. `checkpoint` is None where it did not open.
        """

    @hookspec
    def repair(
        self, files: "Files", report: "VerifyReport", request: "RepairRequest"
    ) -> "Iterable[RepairAction | Irreparable] | None":
        """Propose operations that mend what the report names; write nothing.

        What nothing can mend is said, with the reason.
        """


class Hooks(Protocol):
    """The hooks as `pm.hook` offers them.

    Core merges the answers of `locate`, `detect_format`, `verify` and `repair` into one.
    """

    def formats(self) -> "tuple[Format, ...]": ...

    def locate(self, *, query: "Query") -> "Resolution": ...

    def detect_format(self, *, files: "Files") -> "Detection": ...

    def load(self, *, files: "Files", match: "FormatMatch", request: "LoadRequest") -> "Checkpoint | None": ...

    def save(self, *, checkpoint: "Checkpoint", target: "Target") -> "Manifest | None": ...

    def verify(
        self, *, files: "Files", checkpoint: "Checkpoint | None", request: "VerifyRequest"
    ) -> "VerifyReport": ...

    def repair(self, *, files: "Files", report: "VerifyReport", request: "RepairRequest") -> "RepairPlan": ...


class Plugins(Protocol):
    """The plugin manager, as opening and searching need it.

    Its class does not matter.
    """

    @property
    def hooks(self) -> Hooks: ...

    def formats(self) -> "tuple[Format, ...]": ...

    def format(self, name: str) -> "Format": ...

    def get_plugin(self, name: str) -> Any | None: ...

    def subset_hook_caller(self, name: str, remove_plugins: Iterable[Any]) -> pluggy.HookCaller: ...
