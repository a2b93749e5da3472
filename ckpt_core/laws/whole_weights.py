"""Tells if all weights of a checkpoint are there.

Only then can something else be compared with them.
"""

from ckpt_core.schema.findings import Severity
from ckpt_core.schema.kinds import WEIGHTS
from ckpt_core.schema.manifests import Manifest
from ckpt_core.schema.roles import Presence

_LOST = (Presence.ABSENT, Presence.UNREADABLE)


def weights_are_whole(manifest: Manifest) -> bool:
    """Return True if no role or error says weights are lacking."""
    if any(role.kind in WEIGHTS and role.presence in _LOST for role in manifest.roles):
        return False
    return not any(
        finding.severity is Severity.ERROR and (finding.component or "model").partition(":")[0] in WEIGHTS
        for finding in manifest.findings
    )
