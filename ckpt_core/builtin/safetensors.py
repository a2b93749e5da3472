"""The `safetensors` format: one file, one table of tensors."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ckpt_core.hookspecs import hookimpl
from ckpt_core.layouts.single_file import candidates, only_path
from ckpt_core.schema.formats import Confidence, Format, FormatMatch, LoadRequest
from ckpt_core.schema.locations import LocationKind

if TYPE_CHECKING:
    from ckpt_core.reading.checkpoints import StoredCheckpoint
    from ckpt_core.schema.access import Checkpoint, Files, Target
    from ckpt_core.schema.findings import Finding
    from ckpt_core.schema.manifests import Manifest
    from ckpt_core.schema.verification import VerifyRequest

COMPONENT = "ckpt.component"
"""Key of the metadata that names what the tensors are, where they are not the model; other readers ignore it."""


@hookimpl
def formats() -> tuple[Format, ...]:
    return (
        Format(
            "safetensors", "one .safetensors file: a JSON header and the bytes of its tensors", writes=LocationKind.FILE
        ),
    )


@hookimpl
def detect_format(files: "Files") -> Iterator[FormatMatch]:
    for root, path, head in candidates(files, (".safetensors",)):
        from ckpt_core.codecs.heads.safetensors import sniff_safetensors

        if sniff_safetensors(head):
            yield FormatMatch("safetensors", Confidence.CERTAIN, "a header length and a JSON header", root)
        elif path.lower().endswith(".safetensors") and head[:1] not in (b"v", b"<", b""):
            yield FormatMatch("safetensors", Confidence.POSSIBLE, "the name ends in .safetensors", root)


@hookimpl
def load(files: "Files", match: FormatMatch, request: LoadRequest) -> "StoredCheckpoint":
    from ckpt_core.codecs.safetensors.reader import read_safetensors
    from ckpt_core.reading.checkpoints import StoredCheckpoint
    from ckpt_core.schema.kinds import KINDS
    from ckpt_core.schema.manifests import Component, Manifest

    file = read_safetensors(files, only_path(files))
    metadata = dict(file.metadata)
    kind, _, name = metadata.pop(COMPONENT, "model").partition(":")
    component = Component(kind if kind in KINDS else "model", file.tensors, name=name)
    return StoredCheckpoint(files, match, Manifest((component,), metadata=metadata))


@hookimpl
def verify(files: "Files", checkpoint: "Checkpoint | None", request: "VerifyRequest") -> "Iterator[Finding]":
    """Yield ST009 where neither checksum nor seal exists.

    The format has no checksum; that is said from the bytes depth on.
    """
    from ckpt_core.schema.findings import Finding, Severity
    from ckpt_core.schema.verification import Depth
    from ckpt_core.storage.sealing import read_seal

    if checkpoint is None or checkpoint.match.format != "safetensors" or request.depth < Depth.BYTES:
        return
    if read_seal(files) is None:
        path = only_path(files)
        yield Finding(
            "ST009", Severity.INFO, "no checksums and no seal: changed bytes cannot be told", path, hint="run ckpt seal"
        )


@hookimpl
def save(checkpoint: "Checkpoint", target: "Target") -> "Manifest":
    """Write a checkpoint of one component of tensors.

    Nothing else fits into a file.
    """
    from ckpt_core.codecs.safetensors.writer import metadata_of, plan_safetensors
    from ckpt_core.codecs.single_table import only_tensors
    from ckpt_core.schema.plans import WritePlan

    component = only_tensors(checkpoint, "safetensors")
    metadata = metadata_of(checkpoint)
    if component.label != "model":
        metadata[COMPONENT] = component.label
    names = dict(component.tensors.infos())
    plan = plan_safetensors(target.name, component, names, metadata={"format": "pt", **metadata})
    return target.write(WritePlan((plan,)), checkpoint)
