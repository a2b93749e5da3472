"""The plugin that finds, reads, writes and checks bundles.

Its siblings are imported when a hook runs.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ckpt_core.hookspecs import hookimpl
from ckpt_core.schema.formats import Confidence, Format, FormatMatch, LoadRequest
from ckpt_core.schema.locations import LocationKind

if TYPE_CHECKING:
    from ckpt_core.reading.checkpoints import StoredCheckpoint
    from ckpt_core.schema.access import Checkpoint, Files, Target
    from ckpt_core.schema.findings import Finding
    from ckpt_core.schema.manifests import Manifest
    from ckpt_core.schema.verification import VerifyRequest

_INDEX = "bundle.json"


@hookimpl
def formats() -> tuple[Format, ...]:
    return (
        Format(
            "bundle",
            "a directory with one .safetensors file a component, JSON for plain state, and bundle.json",
            base="hf",
            writes=LocationKind.DIRECTORY,
        ),
    )


@hookimpl
def detect_format(files: "Files") -> Iterator[FormatMatch]:
    for path in files.entries:
        root, _, name = path.rpartition("/")
        if name == _INDEX and files.location.kind is LocationKind.DIRECTORY:
            from ckpt_core.builtin.bundle.index import is_index
            from ckpt_core.layouts.step_names import step_of_name

            if is_index(files.head(path)):
                step = step_of_name((root or files.location.name).rpartition("/")[2])
                yield FormatMatch("bundle", Confidence.CERTAIN, f"{_INDEX} names its components", root, step)


@hookimpl
def load(files: "Files", match: FormatMatch, request: LoadRequest) -> "StoredCheckpoint":
    from ckpt_core.builtin.bundle.opening import read

    return read(files, match)


@hookimpl
def save(checkpoint: "Checkpoint", target: "Target") -> "Manifest":
    from ckpt_core.builtin.bundle.writing import write

    return write(checkpoint, target)


@hookimpl
def verify(files: "Files", checkpoint: "Checkpoint | None", request: "VerifyRequest") -> "Iterator[Finding]":
    """Yield ST009 where there is no seal: its files have no checksums."""
    from ckpt_core.schema.findings import Finding, Severity
    from ckpt_core.schema.verification import Depth
    from ckpt_core.storage.sealing import read_seal

    if checkpoint is None or checkpoint.match.format != "bundle" or request.depth < Depth.BYTES:
        return
    if read_seal(files) is None:
        message = "no checksums and no seal: changed bytes cannot be told"
        yield Finding("ST009", Severity.INFO, message, _INDEX, hint="run ckpt seal")
