"""What ckpt makes of a checkpoint: nothing, or what it says is wrong."""

from pathlib import Path

import ckpt_core
from ckpt_core import Depth, Profile, Severity
from ckpt_core.errors import CkptError
from ckpt_core.schema.profiles import Verdict

PURPOSES = {
    "trainer": Profile.EXACT_RESUME,
    "sharded": Profile.INFERENCE,
    "torch": Profile.RESUME,
    "dcp": Profile.RESUME,
}
"""What each kind of checkpoint is whole for."""


def complaint(kind: str, place: Path) -> str:
    """Why it is not to be used as it is; "" where `ckpt verify --depth values --for …` is content."""
    try:
        report = ckpt_core.verify(str(place), depth=Depth.VALUES, profile=PURPOSES[kind]).report
    except CkptError as error:
        return f"exit {error.exit_code}: {error.message}"
    loud = [f"{found.code} {found.message}" for found in report.findings if found.severity > Severity.INFO]
    assert report.assessment is not None
    if report.assessment.verdict is not Verdict.COMPLETE:
        return "; ".join([report.assessment.summary, *loud[:1]])
    return loud[0] if loud else ""
