"""The causes of a taint.

A cause says why a tensor is not what was saved, or was never proved to be.
"""

from collections.abc import Iterable, Mapping

from ckpt_core.schema.roles import Role

DAMAGED = "damaged"
"""A checksum did not hold, and somebody went on."""


EXTRACTED = "extracted"
"""Taken out of a file that was not loaded: what lies in it, not what loading would give."""


SALVAGED = "salvaged"
"""Put together of what was left of something broken."""


SYNTHESIZED = "synthesized"
"""Made up."""


CAUSES = (DAMAGED, EXTRACTED, SALVAGED, SYNTHESIZED)


ALL = "*"


MADE_UP_FILE = "ckpt.synthesized.json"
"""What a repair made up in a directory; part of it."""


def cause_of(tainted: Mapping[str, str], component: str, name: str) -> str | None:
    """Return why a tensor is tainted; None where it is not."""
    if not tainted:
        return None
    return next((tainted[key] for key in (f"{component}/{name}", f"{component}/*", ALL) if key in tainted), None)


def made_up(roles: Iterable[Role], component: str) -> str | None:
    """Return SYNTHESIZED for a component that a repair made up.

    Its role says so in the checkpoint that was repaired, and some purposes can do with it; wherever it is written to,
    it becomes a taint.
    """
    listed = any(role.label == component and role.where == MADE_UP_FILE for role in roles)
    return SYNTHESIZED if listed else None
