"""The `safetensors` format: one file, one table of tensors."""

from collections.abc import Iterator

from ckpt_core.builtin.loose_files import candidates, only_path
from ckpt_core.codecs import safetensors_files
from ckpt_core.hookspecs import hookimpl
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.schema.access import Checkpoint, Files
from ckpt_core.schema.findings import Depth, Finding, Severity, VerifyRequest
from ckpt_core.schema.formats import Confidence, Format, FormatMatch, LoadRequest
from ckpt_core.schema.manifests import Component, Manifest


@hookimpl
def formats() -> tuple[Format, ...]:
    return (Format("safetensors", "one .safetensors file: a JSON header and the bytes of its tensors"),)


@hookimpl
def detect_format(files: Files) -> Iterator[FormatMatch]:
    for root, path, head in candidates(files, (".safetensors",)):
        if safetensors_files.sniff(head):
            yield FormatMatch("safetensors", Confidence.CERTAIN, "a header length and a JSON header", root)
        elif path.lower().endswith(".safetensors") and head[:1] not in (b"v", b"<", b""):
            yield FormatMatch("safetensors", Confidence.POSSIBLE, "the name ends in .safetensors", root)


@hookimpl
def load(files: Files, match: FormatMatch, request: LoadRequest) -> StoredCheckpoint:
    file = safetensors_files.read_safetensors(files, only_path(files))
    component = Component("model", file.tensors)
    return StoredCheckpoint(files, match, Manifest((component,), metadata=dict(file.metadata)))


@hookimpl
def verify(files: Files, checkpoint: Checkpoint | None, request: VerifyRequest) -> Iterator[Finding]:
    """The format has no checksum: from the bytes depth on, that is said."""
    if checkpoint is not None and checkpoint.match.format == "safetensors" and request.depth >= Depth.BYTES:
        path = only_path(files)
        yield Finding("ST009", Severity.INFO, "the format has no checksums: changed bytes cannot be told", path)
