"""Reads the format `minillm`: one torch file of plain weights.

The tensors are compared with the file's name.
"""

from collections.abc import Iterator
from dataclasses import replace

from ckpt_core import (
    Files,
    Finding,
    FormatMatch,
    LoadRequest,
    Manifest,
    Severity,
    StoredCheckpoint,
    UnsupportedFormatError,
    argument,
    printable,
)
from ckpt_core.codecs import read_torch_file
from ckpt_core.layouts import components_of
from ckpt_minillm.model_shape import Facts, facts_of
from ckpt_minillm.name_checks import name_findings, refuse_contradictions
from ckpt_minillm.naming import WeightsName, parse_name


def read_weights(files: Files, match: FormatMatch, request: LoadRequest) -> StoredCheckpoint:
    """Read plain weights, their configuration, and the name's contradictions.

    The configuration is told, not stored, so it is metadata and no component: the same weights under another name, or
    in another format, are identical. The component is `model`, or `adapter` where nothing but a LoRA is in the file.
    What is not flat is opened as the torch format would, with a finding.

    Raises:
        UsageError: A hint contradicts the tensors.
        CkptError: The file is not one that torch.save wrote, is cut short, or asks to run code.
    """
    path = next(iter(files.entries))
    name = parse_name(path)
    if name is None:
        raise UnsupportedFormatError(
            f"{printable(path)}: not named as MiniLLM names weights; use {argument('format', 'torch')}"
        )
    file = read_torch_file(files, path)
    components = components_of(file.root, file.tensors)
    model = next((component for component in components if component.kind == "model"), None)
    facts = facts_of(model.tensors) if model is not None else Facts()
    refuse_contradictions(path, facts, request.hints)
    flat = model is not None and len(components) == 1 and model.state is None
    if flat and facts.lora_only:
        components = (replace(components[0], kind="adapter"),)
    findings = (*file.findings, *_findings(path, name, facts, flat))
    metadata = {**file.metadata, "stage": name.stage, **facts.as_metadata()}
    manifest = Manifest(components, metadata=metadata, findings=findings)
    checkpoint = StoredCheckpoint(files, match, manifest, confirm=file.confirm)
    checkpoint.checksums = file.checksums
    return checkpoint


def _findings(path: str, name: WeightsName, facts: Facts, flat: bool) -> Iterator[Finding]:
    yield from name_findings(path, name, facts)
    if facts.lora_only and not name.lora:
        message = f"{path}: holds a LoRA alone, under the name of a whole model's weights"
        yield Finding(
            "MM003", Severity.WARNING, message, path, hint="rename it, and load the model it belongs to first"
        )
    if not flat:
        message = f"{path}: not the flat table of tensors that the name promises (a resume file renamed?)"
        yield Finding("MM004", Severity.ERROR, message, path, hint="rename it to …_resume.pth, or save its model alone")
