"""The assessment of a checkpoint, with its seal's records.

The seal records how the checkpoint was made.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ckpt_core.schema.access import Checkpoint
    from ckpt_core.schema.findings import Finding
    from ckpt_core.schema.profiles import Assessment
    from ckpt_core.schema.verification import VerifyRequest


def assessment_of(
    checkpoint: "Checkpoint | None", request: "VerifyRequest", findings: Sequence["Finding"]
) -> "Assessment | None":
    """Return the assessment for the profile of a request.

    None where it has no profile; `findings` are of this verification. A checkpoint with nothing in it is not damaged:
    everything is absent, line by line.
    """
    if request.profile is None:
        return None
    from ckpt_core.schema.profiles import assess
    from ckpt_core.schema.roles import Profile
    from ckpt_core.schema.verification import Depth

    manifest = None if checkpoint is None else checkpoint.manifest
    if checkpoint is not None and manifest is not None and request.profile is not Profile.INFERENCE:
        from ckpt_core.reading.casting.recorded import narrowed_roles

        manifest = replace(manifest, roles=(*narrowed_roles(checkpoint.asset_files()), *manifest.roles))
    assessment = assess(manifest, request.profile, findings, without=request.without, run=request.run)
    return replace(assessment, finite=request.depth >= Depth.VALUES and request.sampling is None)
