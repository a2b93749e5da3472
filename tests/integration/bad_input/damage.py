"""Reads damaged bytes as the verbs do, in this process, and tells what the tensors are where the file is accepted."""

from pathlib import Path

import ckpt_core
from ckpt_core import CkptError, Depth

ACCEPTED = (0, "")


def verdict(place: Path, content: bytes) -> tuple[int, str]:
    """Exit code and message of `verify --depth bytes`; `ACCEPTED` where it finds no error."""
    place.write_bytes(content)
    try:
        report = ckpt_core.verify(str(place), depth=Depth.BYTES).report
    except CkptError as error:
        return error.exit_code, error.message
    errors = [finding.message for finding in report.findings if finding.severity.name == "ERROR"]
    return (4, errors[0]) if errors else ACCEPTED


def tensors(place: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Type, shape and bytes of every tensor, under component and name."""
    checkpoint = ckpt_core.load(str(place))
    return {
        f"{component.label}/{name}": (entry.dtype.code, entry.shape, bytes(checkpoint.read(component.label, name)))
        for component in checkpoint.manifest.components
        for name, entry in component.tensors.items()
    }
