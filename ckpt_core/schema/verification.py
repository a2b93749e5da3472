"""Verification: its depth, its request and its report."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from ckpt_core.arguments import argument
from ckpt_core.errors import UsageError
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    from ckpt_core.schema.profiles import Assessment
    from ckpt_core.schema.roles import Profile


class Depth(IntEnum):
    """The amount that a verification reads.

    LAYOUT headers and sizes, BYTES all bytes, VALUES all values too.
    """

    LAYOUT = 0
    BYTES = 1
    VALUES = 2


def depth_named(spelling: object) -> Depth:
    """Return the depth named `layout`, `bytes` or `values`.

    UsageError where it is none of them.
    """
    if isinstance(spelling, Depth):
        return spelling
    if isinstance(spelling, str) and (name := spelling.strip().upper()) in Depth.__members__:
        return Depth[name]
    known = ", ".join(depth.name.lower() for depth in Depth)
    raise UsageError(f"{argument('depth')}: {printable(repr(spelling), 80)} is no depth; known are {known}")


@dataclass(frozen=True, slots=True)
class Sampling:
    """A choice of a part of the bytes to read.

    Attributes:
        share: How much of each file, more than 0 and at most 1; at least one block of each.
        seed: Which blocks: the same number chooses the same ones of the same files.
        seconds: Begin no further block after this time; None for no limit. One block is read in any case.

    Raises:
        UsageError: Nothing would be read, or a value is no number.
    """

    share: float = 1.0
    seed: int = 0
    seconds: float | None = None

    def __post_init__(self) -> None:
        for value in (self.share, self.seed, 1 if self.seconds is None else self.seconds):
            if not isinstance(value, int | float):
                raise UsageError(f"a sample: a number is needed, not {printable(repr(value), 80)}")
        if not 0 < self.share <= 1:
            raise UsageError(f"a share of {self.share}: more than 0 and at most 1 is needed")
        if self.seconds is not None and not self.seconds > 0:
            raise UsageError(f"a limit of {self.seconds} seconds: more than 0 is needed")


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """The depth, purpose and options of a verification.

    Attributes:
        depth: How much is read.
        options: The format's own.
        profile: The purpose that the checkpoint must be complete for; None to look for damage only.
        without: Kinds of components that the training is known to have had none of.
        sampling: From the BYTES depth on: which part of the bytes is read; None for all of them.
        run: Kinds of components that other checkpoints of the same run have, each with the one that has it.
    """

    depth: Depth = Depth.LAYOUT
    options: Mapping[str, Any] = field(default_factory=dict)
    profile: "Profile | None" = None
    without: tuple[str, ...] = ()
    sampling: Sampling | None = None
    run: Mapping[str, str] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """True if every byte is read.

        What needs whole files is checked only then, and else said to be unchecked.
        """
        return self.depth >= Depth.BYTES and self.sampling is None


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """All findings, worst first, and how much was read.

    Attributes:
        checked_tensors: Tensors whose place, bytes or values were checked.
        checked_bytes: Bytes of them that were read; 0 at the layout depth.
        total_bytes: Bytes that they have.
        assessment: The verdict for the profile that was asked for; None where none was.
    """

    findings: tuple[Finding, ...] = ()
    depth: Depth = Depth.LAYOUT
    checked_tensors: int = 0
    checked_bytes: int = 0
    total_bytes: int = 0
    assessment: "Assessment | None" = None

    @property
    def verdict(self) -> str:
        """The result in one line: `ok at depth layout, nothing found`.

        With a profile the assessment's summary follows.
        """
        counts = Counter(finding.severity.name.lower() for finding in self.findings)
        counted = (
            ", ".join(f"{counts[one]} {one}" for one in ("error", "warning", "info") if counts[one]) or "nothing found"
        )
        word = "ok" if self.ok else "damaged"
        purpose = f"; {self.assessment.summary}" if self.assessment is not None else ""
        return f"{word} at depth {self.depth.name.lower()}, {counted}{purpose}"

    @property
    def worst(self) -> Severity:
        return max((finding.severity for finding in self.findings), default=Severity.INFO)

    @property
    def ok(self) -> bool:
        return self.worst < Severity.ERROR


_NO_JSON = "CK018"


def sorted_findings(findings: "list[Finding]") -> tuple[Finding, ...]:
    """Return findings without repetitions, worst first.

    Equal severities are sorted by code, file and tensor. That a file is no JSON is said once, however many read it.
    """
    ordered = sorted(findings, key=lambda f: (-f.severity, f.code, f.path or "", f.tensor or "", f.message))
    unique: dict[object, Finding] = {}
    for finding in ordered:
        unique.setdefault((finding.code, finding.path) if finding.code == _NO_JSON else finding, finding)
    return tuple(unique.values())
