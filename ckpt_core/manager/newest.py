"""The newest checkpoint of a place that is complete for a purpose, told by content: never by name, time or pointer.

Every claim is opened, since a name may lie about its step; then the newest are verified one after the other until one
is complete. What was newer and is not complete is kept, with what it lacks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ckpt_core.errors import CkptError, UnreachableError
from ckpt_core.manager.opening import open_match
from ckpt_core.schema.access import Files
from ckpt_core.schema.findings import Severity, VerifyRequest
from ckpt_core.schema.formats import Detection, FormatMatch
from ckpt_core.schema.locations import Attempt, Candidate, Outcome, Query, Rank, Resolution
from ckpt_core.schema.profiles import Profile, Verdict
from ckpt_core.schema.text import printable
from ckpt_core.storage.listing import files_of, list_files

if TYPE_CHECKING:
    from ckpt_core.manager.plugin_manager import CkptPluginManager

_POINTERS = ("latest", "latest_checkpointed_iteration.txt", "latest_checkpoint.txt", "last_checkpoint")
"""Files in which trainers note the name or number of their last checkpoint: DeepSpeed, Megatron and verl, others."""

_MAX_POINTER = 4096
"""Bytes of a pointer that are read; each of those holds one name."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """A checkpoint of the place: its root, its step by content, else by name; why it cannot be opened, if so."""

    root: str
    files: Files
    match: FormatMatch
    step: int | None
    problem: str = ""

    @property
    def candidate(self) -> Candidate:
        step = "no step recorded" if self.step is None else f"step {self.step}"
        return Candidate(self.files.location.url, Rank.EXPLICIT, f"{self.match.format}, {step}")


def narrow(manager: "CkptPluginManager", resolution: Resolution) -> Resolution:
    """A resolution whose place was found, narrowed to the newest checkpoint in it that its query's profile accepts.

    One whose step nothing records is taken only where it is the only complete one.

    Raises:
        UnreachableError: A place that had to be read did not answer.
    """
    assert resolution.location is not None
    query = resolution.query
    files = list_files(resolution.location.url)
    trials = sorted(_trials(manager, files, resolution.location.member), key=_newest_first)
    if query.profile is Profile.INFERENCE:
        trials.sort(key=lambda trial: trial.root != "")  # a place that is itself a model was asked for by name
    rejected: list[Attempt] = []
    undated: list[_Trial] = []
    for trial in trials:
        lack = trial.problem or _lack(manager, trial, query)
        if lack:
            rejected.append(Attempt(trial.candidate, Outcome.REJECTED, lack))
        elif trial.step is None and trial.root:
            undated.append(trial)
        else:
            return _found(resolution, rejected, trial, files)
    if len(undated) == 1:
        return _found(resolution, rejected, undated[0], files)
    why = f"complete, as are {len(undated) - 1} others, and no step is recorded in any; name one"
    rejected[:0] = [Attempt(trial.candidate, Outcome.REJECTED, why) for trial in undated]
    return replace(resolution, location=None, attempts=(*resolution.attempts, *rejected))


def _found(resolution: Resolution, rejected: Sequence[Attempt], trial: _Trial, files: Files) -> Resolution:
    attempts = (*resolution.attempts, *rejected, Attempt(trial.candidate, Outcome.FOUND))
    notes = (*resolution.notes, *_disagreements(files, trial))
    return replace(
        resolution,
        location=trial.files.location if trial.match.files else replace(trial.files.location, member=None),
        attempts=attempts,
        notes=notes,
    )


def _trials(manager: "CkptPluginManager", files: Files, member: str | None) -> Iterator[_Trial]:
    detection = manager.hooks.detect_format(files=files)
    for root, claims in _claims(detection).items():
        if member is None or member in (root, root.rpartition("/")[2]):
            yield _trial(manager, files_of(files, claims[0]), root, claims)


def _claims(detection: Detection) -> dict[str, list[FormatMatch]]:
    """The claims that hold, by root; several where they are of equal weight."""
    top = [detection.best] if detection.best is not None else list(detection.rivals)
    by_root: dict[str, list[FormatMatch]] = {}
    for match in (*top, *detection.members):
        by_root.setdefault(match.root, []).append(match)
    return by_root


def _trial(manager: "CkptPluginManager", files: Files, root: str, claims: Sequence[FormatMatch]) -> _Trial:
    match = claims[0]
    if len(claims) > 1:
        names = ", ".join(sorted(claim.format for claim in claims))
        return _Trial(root, files, match, match.step, f"equally claimed by {names}")
    try:
        step = open_match(manager, files, replace(match, root="")).manifest.step
    except UnreachableError:
        raise
    except CkptError as error:
        return _Trial(root, files, match, match.step, error.message)
    return _Trial(root, files, match, match.step if step is None else step)


def _newest_first(trial: _Trial) -> tuple[int, str]:
    return (-trial.step if trial.step is not None else 1, trial.root)


def _lack(manager: "CkptPluginManager", trial: _Trial, query: Query) -> str:
    """What a checkpoint lacks for the query's profile; "" where it is complete."""
    checkpoint = open_match(manager, trial.files, replace(trial.match, root=""))
    request = VerifyRequest(profile=query.profile, without=query.without)
    report = manager.hooks.verify(files=trial.files, checkpoint=checkpoint, request=request)
    assert report.assessment is not None
    if report.assessment.verdict is Verdict.COMPLETE:
        return ""
    errors = [finding.message for finding in report.findings if finding.severity is Severity.ERROR]
    return "; ".join([report.assessment.summary, *errors[:1]])


def _disagreements(files: Files, chosen: _Trial) -> Iterator[str]:
    """What pointers in the place name that is not the chosen one."""
    for pointer in _POINTERS:
        if pointer not in files.entries or files.size(pointer) > _MAX_POINTER:
            continue
        text = files.read(pointer).decode("utf-8", "replace").strip()
        if text not in (chosen.root, *chosen.root.split("/"), str(chosen.step)):
            name = printable(chosen.root or ".")
            yield f"{pointer} names {printable(text, 80)}; the newest complete checkpoint is {name}"
