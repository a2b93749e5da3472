"""Places: the query, the candidates, and the location chosen."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import TYPE_CHECKING

from ckpt_core.arguments import argument
from ckpt_core.errors import (
    AmbiguousRunError,
    CheckpointNotFoundError,
    IncompleteError,
    LocateError,
    UnreachableError,
    UsageError,
)
from ckpt_core.schema.text import printable, redact

if TYPE_CHECKING:
    from ckpt_core.schema.roles import Profile


_SHOWN = 6
"""Runs, or checkpoints, that an error names."""


@dataclass(frozen=True, slots=True)
class Query:
    """A question for `locate`.

    Attributes:
        ref: What a person types: a path, a URL, a stage name, `REF#member`, or None.
        hints: Whatever narrows the search (stage, hidden_size, step, …), by name.
        env: The environment; by default that of this process.
        profile: Ask for the newest checkpoint in the place that is complete for this purpose; None for the place.
        without: With a profile: kinds of components that the training is known to have had none of.
        explain: The reasons will be shown: what else the place has may be proposed too, where that costs a question.
    """

    ref: str | None = None
    hints: Mapping[str, object] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    profile: "Profile | None" = None
    without: tuple[str, ...] = ()
    explain: bool = False

    def __post_init__(self) -> None:
        """Accept a `Path` and the name of a profile too.

        UsageError for what is neither.
        """
        if isinstance(self.ref, os.PathLike):
            object.__setattr__(self, "ref", os.fspath(self.ref))
        if not isinstance(self.ref, str | None):
            raise UsageError(
                f"{argument('ref')}: a path, a URL or a name is needed, not {printable(repr(self.ref), 80)}"
            )
        if isinstance(self.hints, str) or not isinstance(self.hints, Mapping):
            raise UsageError(f"{argument('hints')}: a mapping is needed, not {printable(repr(self.hints), 80)}")
        if self.profile is not None:
            from ckpt_core.schema.roles import profile_named

            object.__setattr__(self, "profile", profile_named(self.profile))

    def __repr__(self) -> str:
        given = [
            ("hints", dict(self.hints)),
            ("profile", self.profile and self.profile.value),
            ("without", self.without),
        ]
        beside = "".join(f", {name}={value!r}" for name, value in given if value)
        return f"Query({None if self.ref is None else redact(self.ref)!r}{beside})"

    @property
    def place(self) -> str | None:
        """The ref without `#member`."""
        return split_member(self.ref)[0] if self.ref else None

    @property
    def member(self) -> str | None:
        """The name behind `#`, which picks one checkpoint of a container."""
        return split_member(self.ref)[1] if self.ref else None


def split_member(ref: str) -> tuple[str, str | None]:
    """Split a ref into the place and the member it picks.

    `runs/x#checkpoint-400` gives `("runs/x", "checkpoint-400")`. A member may lie further down
    (`runs#x/checkpoint-400`). Of a URL it may not: `#` is a part of some objects' names.
    """
    place, mark, member = ref.rpartition("#")
    if not mark or not place or not member or member.startswith("/") or ("/" in member and "://" in ref):
        return ref, None
    return place, member


class LocationKind(Enum):
    FILE = "file"
    DIRECTORY = "directory"


@dataclass(frozen=True, slots=True)
class Location:
    """A chosen place: a local path or a URL, and its kind.

    `str()` leaves out the secrets a URL may hold.
    """

    url: str = field(repr=False)
    kind: LocationKind
    member: str | None = None

    @property
    def name(self) -> str:
        """The last part of its path, without a URL's query."""
        path = self.url.partition("?")[0] if "://" in self.url else self.url
        return path.rstrip("/").rpartition("/")[2]

    def __str__(self) -> str:
        return redact(self.url) + (f"#{self.member}" if self.member else "")


class Priority(IntEnum):
    """The order in which candidates are probed, whoever proposed them."""

    EXPLICIT = 0
    ENVIRONMENT = 1
    REMOTE = 2
    LOCAL = 3
    FALLBACK = 4


@dataclass(frozen=True, slots=True)
class Candidate:
    """A proposed place.

    One that is missing is passed over, unless it is `required`: then the search ends there.

    Candidates of one priority are probed by `order`, then by URL. Where `kind` is given and something else is there,
    the search ends as well. `warning` says in what a candidate is not quite what was asked for: it is logged where that
    is the one that is found, and `explain` shows it.
    """

    url: str = field(repr=False)
    priority: Priority
    reason: str
    required: bool = False
    order: int = 0
    kind: LocationKind | None = None
    warning: str = ""

    def __str__(self) -> str:
        return redact(self.url)


class Outcome(Enum):
    FOUND = "found"
    MISSING = "missing"
    UNREACHABLE = "unreachable"
    REJECTED = "rejected"
    NOT_PROBED = "not probed"


@dataclass(frozen=True, slots=True)
class Attempt:
    """The outcome of probing a candidate.

    `detail` gives the reason in words, `step` what to do about it; "" for what goes without saying.
    """

    candidate: Candidate
    outcome: Outcome
    detail: str = ""
    step: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several answers that cannot be compared.

    It is a training run, or a checkpoint without a step.

    Attributes:
        ref: A ref that means this choice and no other.
        newest: Its newest checkpoint.
        step: That one's step, in words.
        lack: Why that one is not complete; "" where it is.
        of_run: Whether it is a run.
    """

    ref: str = field(repr=False)
    newest: str = field(repr=False)
    step: str
    lack: str = ""
    of_run: bool = False

    def __str__(self) -> str:
        if not self.of_run:
            return redact(self.ref)
        newest = "" if self.newest == self.ref else f"newest: {redact(self.newest)}, "
        return f"{redact(self.ref)} ({newest}{self.step}{f', {self.lack}' if self.lack else ''})"


@dataclass(frozen=True, slots=True)
class Resolution:
    """The candidate that won, and the outcome of every other.

    `choices` is filled where one of several has to be named. `meant` suggests a known name that the ref nearly is; None
    where it is near none.
    """

    query: Query
    location: Location | None
    attempts: tuple[Attempt, ...]
    notes: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()
    meant: str | None = None

    @property
    def found(self) -> bool:
        return self.location is not None

    def explain(self) -> str:
        """Return every place considered, one a line, in order.

        Each has its reason and its outcome.
        """
        lines = []
        for attempt in self.attempts:
            mark = "->" if attempt.outcome is Outcome.FOUND else "  "
            detail = f" ({attempt.detail})" if attempt.detail else ""
            rank = attempt.candidate.priority.name.lower()
            lines.append(
                f"{mark} {rank:<11}  {attempt.outcome.value:<11}  {attempt.candidate}  "
                f"[{attempt.candidate.reason}]{detail}"
            )
        lines += [f"   one of several      {choice}" for choice in self.choices]
        return "\n".join([*lines, *self.notes]) or "no plugin proposed a place"

    def require(self) -> Location:
        """Return the location that was found.

        Raises:
            CheckpointNotFoundError: Nothing was found.
            UnreachableError: A place that had to be asked did not answer.
            IncompleteError: There are checkpoints, and none is complete for the profile that was asked for.
            AmbiguousRunError: There are several that are not compared: of several runs, or without a step.
        """
        if self.location is not None:
            return self.location
        raise self.error()

    def error(self) -> LocateError:
        """Return the error that says why nothing was found."""
        asked = (
            redact(self.query.ref or "")
            or ", ".join(f"{key}={value}" for key, value in self.query.hints.items())
            or "the query"
        )
        if self.choices:
            return self._ambiguous(asked)
        if self.query.profile is not None and any(a.outcome is Outcome.FOUND for a in self.attempts):
            return self._incomplete(asked)
        for attempt in self.attempts:
            if attempt.outcome is Outcome.UNREACHABLE:
                return UnreachableError(
                    f"{attempt.candidate}: cannot be reached ({attempt.detail}); "
                    f"{attempt.step or 'check the connection and try again'}"
                )
            if attempt.outcome is Outcome.REJECTED:
                return CheckpointNotFoundError(
                    f"{attempt.candidate}: {attempt.detail} [{attempt.candidate.reason}]; check what is there"
                )
            if attempt.outcome is Outcome.MISSING and attempt.candidate.required:
                return CheckpointNotFoundError(
                    f"{attempt.candidate}: {attempt.detail or 'no such file or directory'} "
                    f"[{attempt.candidate.reason}]; {attempt.step or 'check the name'}"
                )
        if not self.attempts:
            return CheckpointNotFoundError(f"{asked}: no plugin knows where to look; give a path or a URL")
        tried = ", ".join(str(attempt.candidate) for attempt in self.attempts)
        return CheckpointNotFoundError(f"{asked}: not found; looked at {tried}", hint=self.meant)

    def _ambiguous(self, asked: str) -> LocateError:
        """Return the error for several newest checkpoints that cannot be compared."""
        shown = "; ".join(map(str, self.choices[:_SHOWN]))
        more = f"; {len(self.choices) - _SHOWN} more" if len(self.choices) > _SHOWN else ""
        first = redact(self.choices[0].ref)
        if self.choices[0].of_run:
            what = f"holds {len(self.choices)} training runs, which are not compared"
        else:
            what = f"holds {len(self.choices)} complete checkpoints of which nothing says the step"
        return AmbiguousRunError(f"{asked}: {what}: {shown}{more}; name one, as {first}", code="RS007")

    def _incomplete(self, asked: str) -> LocateError:
        """Return the error for a place without a complete checkpoint."""
        assert self.query.profile is not None
        rejected = [attempt for attempt in self.attempts if attempt.outcome is Outcome.REJECTED]
        if not rejected:
            return CheckpointNotFoundError(f"{asked}: holds no checkpoint; check the name")
        newest = rejected[0]
        return IncompleteError(
            f"{asked}: no checkpoint of {len(rejected)} is complete for {self.query.profile.value}; "
            f"the newest is {newest.candidate} ({newest.detail})"
        )
