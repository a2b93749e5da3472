"""The taint: a record of tensors that are not as saved.

Tainted is what is not what was saved, or was never proved to be. The record is kept with a checkpoint wherever it goes.

A checkpoint has it as `manifest.tainted`: a cause by tensor, `component/name`; `component/*` is a whole component, `*`
all there is. Who makes such content says so in the checkpoint that is written, and no more is needed:

    manifest = replace(manifest, tainted={f"model/{name}": EXTRACTED for name in names})

`save` and `convert` carry it on under the names that they write, in the seal (`provenance["tainted"]`) and in the
content: `__metadata__` of safetensors, a record of a torch file, `ckpt.tainted.json` in a directory. Whoever opens
that has it in `manifest.tainted` again, and `verify` says it as IN001, an ERROR.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ckpt_core.errors import CorruptError
from ckpt_core.schema.access import Checkpoint, Files
from ckpt_core.schema.causes import CAUSES, DAMAGED, EXTRACTED, SALVAGED, SYNTHESIZED
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.plans import FilePlan, Literal, WritePlan
from ckpt_core.schema.side_files.reserved_names import TAINT, TAINTED_FILE
from ckpt_core.schema.text import printable

_MEANS = {
    DAMAGED: "did not match its checksum when it was written, which was accepted",
    EXTRACTED: "what lay in an unsafe file, not what loading that would have given",
    SALVAGED: "put together of what was left of a broken checkpoint",
    SYNTHESIZED: "made up, not saved",
}
_SHOWN = 3
_LARGEST = 64 << 20


def carried(checkpoint: Checkpoint) -> dict[str, str]:
    """Return the taint of a checkpoint under the names it shows."""
    tainted: dict[str, str] = {}
    if checkpoint.in_memory:
        return tainted
    for component in checkpoint.manifest.components:
        names = [*component.tensors, "*"] if not len(component.tensors) else list(component.tensors)
        for name in names:
            cause = checkpoint.cause(component.label, name)
            if cause is not None:
                tainted[f"{component.label}/{name}"] = cause
    return tainted


def as_text(tainted: Mapping[str, str]) -> str:
    """Return the JSON text of a taint, for metadata and files."""
    return json.dumps(dict(tainted), sort_keys=True)


def as_file(tainted: Mapping[str, str]) -> bytes:
    """Return the content of a directory's `ckpt.tainted.json`."""
    return as_text(tainted).encode() + b"\n"


def as_metadata(tainted: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata entry of a taint; empty without a taint."""
    return {TAINT: as_text(tainted)} if tainted else {}


def of_text(text: object, *, path: str) -> dict[str, str]:
    """Parse the taint in a text.

    Raises:
        CorruptError: IN002, it cannot be read; a record that is damaged must not pass for none.
    """
    try:
        tainted = json.loads(text) if isinstance(text, str | bytes) else text
        if isinstance(tainted, dict) and all(cause in CAUSES for cause in tainted.values()):
            return {str(name): str(cause) for name, cause in tainted.items()}
    except (ValueError, RecursionError):
        pass
    message = f"{printable(path)}: its record of what is tainted cannot be read; get the file again"
    raise CorruptError(message, code="IN002", path=path)


def of_files(files: Files) -> dict[str, str]:
    """Return the taint that a directory's own file records.

    Raises:
        CorruptError: IN002, it is there and cannot be read.
    """
    if TAINTED_FILE not in files.entries:
        return {}
    if files.size(TAINTED_FILE) > _LARGEST:
        raise CorruptError(f"{TAINTED_FILE}: too long to be read", code="IN002", path=TAINTED_FILE)
    return of_text(files.read(TAINTED_FILE), path=TAINTED_FILE)


def of_provenance(provenance: Mapping[str, Any], *, path: str) -> dict[str, str]:
    """Return the taint that a seal records."""
    return of_text(provenance["tainted"], path=path) if "tainted" in provenance else {}


def marked(plan: WritePlan, checkpoint: Checkpoint) -> WritePlan:
    """Return a directory's plan with the file that records its taint.

    The plan has no such file where nothing is tainted.
    """
    if any(file.path == TAINTED_FILE and isinstance(file.sections[0], Literal) for file in plan.files):
        return plan
    tainted = carried(checkpoint)
    files = tuple(file for file in plan.files if file.path != TAINTED_FILE)
    if tainted:
        files = (*files, FilePlan(TAINTED_FILE, (Literal(as_file(tainted)),)))
    return plan if files == plan.files else replace(plan, files=files)


def findings_of(tainted: Mapping[str, str]) -> Iterator[Finding]:
    """Yield IN001, an ERROR, for each cause of a taint.

    It names the tensors, and says what the cause means.
    """
    for cause in CAUSES:
        names = sorted(name for name, why in tainted.items() if why == cause)
        if names:
            verb = "is" if len(names) == 1 else "are"
            message = f"{_some(names)} {verb} tainted ({cause}: {_MEANS[cause]})"
            yield Finding("IN001", Severity.ERROR, message, tensor=names[0].partition("/")[2] or None, hint=_HINT)


_HINT = "use it knowing that, or get the checkpoint again from where it came from"


def _some(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(map(printable, shown[:_SHOWN])) + more
