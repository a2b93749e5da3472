"""`LayoutTable` finds the package for each layout of a plugin.

A layout is a package whose modules have fixed names and are imported late.

A hook calls one function of one module: `detection.find(files)`, `opening.read(files, match, request)`,
`checks.check(files, checkpoint, request)`, `writing.write(checkpoint, target)`, `repair.propose(files, report)`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ckpt_core.schema.access import Checkpoint, Files, Target
    from ckpt_core.schema.findings import Finding
    from ckpt_core.schema.formats import FormatMatch, LoadRequest
    from ckpt_core.schema.manifests import Manifest
    from ckpt_core.schema.repairs import Irreparable, RepairAction
    from ckpt_core.schema.verification import VerifyReport, VerifyRequest


@dataclass(frozen=True, slots=True)
class Layout:
    """One layout: its format, its package and its modules.

    Attributes:
        format: Name of the format.
        package: The package of its modules; it has `detection` and `opening`, and `writing` where it can be written.
        signs: Text of which every such checkpoint has some in a path: without one its rules are never imported.
        one_file: Whether a single file can be of this layout.
        checks: Whether there is `checks`.
        repairs: Whether there is `repair`.
    """

    format: str
    package: str
    signs: tuple[str, ...]
    one_file: bool = False
    checks: bool = False
    repairs: bool = False

    def module(self, name: str) -> Any:
        """Import a module of the layout's package and return it."""
        return import_module(f"{self.package}.{name}")


class LayoutTable:
    """The layouts that a plugin owns.

    Its methods answer the plugin's hooks.
    """

    def __init__(self, *layouts: Layout) -> None:
        self.layouts = {layout.format: layout for layout in layouts}

    def __contains__(self, format: str) -> bool:
        return format in self.layouts

    def find(self, files: "Files") -> "Iterator[FormatMatch]":
        """Yield the claims of layouts whose signs a path contains."""
        one_file = files.location.kind.value == "file"
        paths = "\n".join((*files.entries, *files.skipped))
        for layout in self.layouts.values():
            if one_file and not layout.one_file:
                continue
            if any(sign in paths for sign in layout.signs):
                yield from layout.module("detection").find(files)

    def read(self, files: "Files", match: "FormatMatch", request: "LoadRequest") -> "Checkpoint":
        """Open the checkpoint of a claim with its own layout."""
        checkpoint: Checkpoint = self.layouts[match.format].module("opening").read(files, match, request)
        return checkpoint

    def write(self, checkpoint: "Checkpoint", target: "Target") -> "Manifest":
        """Write a checkpoint in the target's format; return its manifest."""
        manifest: Manifest = self.layouts[target.format].module("writing").write(checkpoint, target)
        return manifest

    def check(self, files: "Files", checkpoint: "Checkpoint | None", request: "VerifyRequest") -> "Iterator[Finding]":
        """Yield the findings of the checkpoint's own layout.

        Every layout checks a checkpoint that did not open.
        """
        for layout in self.layouts.values():
            if layout.checks and (checkpoint is None or checkpoint.match.format == layout.format):
                yield from layout.module("checks").check(files, checkpoint, request)

    def propose(self, files: "Files", report: "VerifyReport") -> "Iterator[RepairAction | Irreparable]":
        """Yield the repairs that layouts propose for a report."""
        for layout in self.layouts.values():
            if layout.repairs:
                yield from layout.module("repair").propose(files, report)
