"""The format `minillm`: one torch file of plain weights, recognised by its name, read and held against that name."""

from collections.abc import Iterator
from dataclasses import replace

from ckpt_core import (
    CkptError,
    Confidence,
    Files,
    Finding,
    FormatMatch,
    Kind,
    Manifest,
    Severity,
    StoredCheckpoint,
    UnsupportedFormatError,
    printable,
)
from ckpt_core.codecs.torch_components import components_of
from ckpt_core.codecs.torch_files import read_torch_file
from ckpt_core.codecs.torch_kinds import sniff
from ckpt_minillm.facts import Facts, facts_of
from ckpt_minillm.naming import WeightsName, parse_name

FORMAT = "minillm"

_KEYS = (b"model.embed_tokens.weight", b"model.layers.", b"tok_embeddings.weight", b".lora.A.weight")
"""Parts of tensor names, one of which the first 64 KiB of such a file hold: torch.save writes names first, as text."""


def matches(files: Files) -> Iterator[FormatMatch]:
    """A claim on the one file of a listing, or on each that is at the top of a directory."""
    single = files.location.kind is Kind.FILE
    for path in files.entries:
        name = None if "/" in path else parse_name(path)
        if name is None or not name.plain:
            continue
        try:
            head = files.head(path)
        except CkptError:
            # The others of a directory can still be read; of a single file the read error is the answer.
            if single:
                raise
            continue
        yield from _claims(name, head, "" if single else path)


def _claims(name: WeightsName, head: bytes, root: str) -> Iterator[FormatMatch]:
    if sniff(head) is None:
        return
    evidence = f"the name of {name.stage} weights of hidden size {name.hidden_size}"
    if not name.counts and any(key in head for key in _KEYS):
        yield FormatMatch(FORMAT, Confidence.CERTAIN, f"{evidence}, and minimind's tensor names", root)
    elif name.known:
        yield FormatMatch(FORMAT, Confidence.LIKELY, evidence, root)


def read_weights(files: Files, match: FormatMatch) -> StoredCheckpoint:
    """The tensors, what they tell of the model's configuration, and where the name says otherwise.

    The configuration is told, not stored, so it is metadata and no component: the same weights under another name, or
    in another format, are identical. The component is `model`, or `adapter` where nothing but a LoRA is in the file.
    What is not flat is opened as the torch format would, with a finding.

    Raises:
        CkptError: The file is not one that torch.save wrote, is cut short, or asks to run code.
    """
    path = next(iter(files.entries))
    name = parse_name(path)
    if name is None:
        raise UnsupportedFormatError(f"{printable(path)}: not named as MiniLLM names weights; use --format torch")
    file = read_torch_file(files, path)
    components = components_of(file.root, file.tensors)
    model = next((component for component in components if component.kind == "model"), None)
    facts = facts_of(model.tensors) if model is not None else Facts()
    flat = model is not None and len(components) == 1 and model.state is None
    if flat and facts.lora_only:
        components = (replace(components[0], kind="adapter"),)
    findings = (*file.findings, *_findings(path, name, facts, flat))
    metadata = {**file.metadata, "stage": name.stage, **facts.as_metadata()}
    manifest = Manifest(components, metadata=metadata, findings=findings)
    return StoredCheckpoint(files, match, manifest, settle=file.settle)


def _findings(path: str, name: WeightsName, facts: Facts, flat: bool) -> Iterator[Finding]:
    # A stage that no trainer is known to write may be somebody else's habit: `qwen_7.pth` need not be 7 wide.
    severity = Severity.ERROR if name.known else Severity.WARNING
    if facts.hidden_size not in (None, name.hidden_size):
        message = f"{path}: the name says hidden size {name.hidden_size}, the tensors say {facts.hidden_size}"
        yield Finding(
            "MM001", severity, message, path, hint="rename it to what it holds, or find the file it should be"
        )
    if facts.use_moe not in (None, name.moe):
        message = f"{path}: the name says {_experts(name.moe)}, the tensors say {_experts(not name.moe)}"
        yield Finding("MM002", severity, message, path, hint="rename it with or without _moe")
    if facts.lora_only and not name.lora:
        message = f"{path}: holds a LoRA alone, under the name of a whole model's weights"
        yield Finding(
            "MM003", Severity.WARNING, message, path, hint="rename it, and load the model it belongs to first"
        )
    if not flat:
        message = f"{path}: not the flat table of tensors that the name promises (a resume file renamed?)"
        yield Finding("MM004", Severity.ERROR, message, path, hint="rename it to …_resume.pth, or save its model alone")


def _experts(moe: bool) -> str:
    return "experts" if moe else "no experts"
