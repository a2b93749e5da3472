"""Finds the newest checkpoint of a place that is complete.

Content decides: never name, time or pointer.

Every claim is opened, since a name may lie about its step; then the newest are verified one after the other until one
is complete. What was newer and is not complete is kept, with what it lacks. Checkpoints of several runs are never
compared: one of the runs is to be named.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ckpt_core.errors import ReplacedError
from ckpt_core.manager.opening import open_match
from ckpt_core.manager.runs import Run, naming, runs_of
from ckpt_core.manager.trials import Trial, trials_of
from ckpt_core.manager.unclaimed import unclaimed
from ckpt_core.schema.access import Files
from ckpt_core.schema.findings import Severity
from ckpt_core.schema.locations import Attempt, Choice, Outcome, Query, Resolution
from ckpt_core.schema.profiles import Verdict
from ckpt_core.schema.roles import Profile
from ckpt_core.schema.text import printable
from ckpt_core.schema.verification import VerifyRequest
from ckpt_core.storage.listing import list_files

if TYPE_CHECKING:
    from ckpt_core.hookspecs import Plugins

_POINTERS = ("latest", "latest_checkpointed_iteration.txt", "latest_checkpoint.txt", "last_checkpoint")
"""Files in which trainers note the name or number of their last checkpoint: DeepSpeed, Megatron and verl, others."""

_LINKS = ("last", "latest")
"""Links that trainers set to their last checkpoint: lerobot and others."""

_MAX_POINTER = 4096
"""Bytes of a pointer that are read; each of those holds one name."""

_UNDATED = "no step is recorded in it, so that it cannot be compared"


@dataclass(frozen=True, slots=True)
class _Answer:
    """The newest complete checkpoint of one run, and the rest.

    `alike` holds several that cannot be told apart.
    """

    chosen: Trial | None
    rejected: tuple[Attempt, ...] = ()
    alike: tuple[Trial, ...] = ()


@dataclass(frozen=True, slots=True)
class _Passed:
    """A checkpoint passed over, with its step.

    None where the step is not known.
    """

    step: int | None
    attempt: Attempt


def narrow(manager: "Plugins", resolution: Resolution) -> Resolution:
    """Narrow a resolution to the newest complete checkpoint of its place.

    It must be complete for the query's profile. One whose step nothing records is taken only where it is the only
    complete one. Of several runs none is chosen.

    Raises:
        UnreachableError: A place that had to be read did not answer.
    """
    assert resolution.location is not None
    query = resolution.query
    files = list_files(resolution.location.url)
    trials = list(trials_of(manager, files, resolution.location.member))
    itself = next((trial for trial in trials if not trial.root), None)
    if query.profile is Profile.INFERENCE and itself is not None and not _lack(manager, itself, Run((itself,)), query):
        return _found(resolution, _Answer(itself), files)  # a place that is itself a model was asked for by name
    runs = runs_of(trials)
    if len(runs) > 1:
        choices = tuple(_choice(run, runs, _answer(manager, run, query), resolution) for run in runs)
        return replace(resolution, location=None, choices=choices)
    passed = [] if resolution.location.member is not None else [_Passed(*one) for one in unclaimed(files, trials)]
    answer = _answer(manager, runs[0] if runs else Run(()), query, passed)
    if answer.chosen is not None:
        return _found(resolution, answer, files)
    choices = tuple(Choice(t.files.location.url, t.files.location.url, t.shown_step) for t in answer.alike)
    return replace(resolution, location=None, attempts=(*resolution.attempts, *answer.rejected), choices=choices)


def _answer(manager: "Plugins", run: Run, query: Query, passed: Sequence[_Passed] = ()) -> _Answer:
    """Return the newest complete checkpoint of a run.

    Everything newer comes with it; `passed` are folders that hold none.
    """
    rejected = list(passed)
    undated: list[Trial] = []
    for trial in run.trials:
        lack = _lack(manager, trial, run, query)
        if lack:
            rejected.append(_Passed(trial.step, Attempt(trial.candidate, Outcome.REJECTED, lack)))
        elif trial.step is None and trial.root:
            undated.append(trial)
        else:
            return _Answer(trial, _attempts([*rejected, *_without_step(run, trial)], trial.step))
    if len(undated) == 1:
        return _Answer(undated[0], _attempts(rejected, None))
    return _Answer(None, _attempts(rejected, None), tuple(undated))


def _without_step(run: Run, chosen: Trial) -> list[_Passed]:
    """Return the checkpoints that cannot be compared with the chosen.

    The chosen one has a step, and they have none.
    """
    left = [trial for trial in run.trials if trial.step is None and trial.root and chosen.step is not None]
    return [_Passed(None, Attempt(trial.candidate, Outcome.REJECTED, _UNDATED)) for trial in left]


def _attempts(passed: Sequence[_Passed], chosen: int | None) -> tuple[Attempt, ...]:
    """Return what was passed over, newest first.

    What is older than the chosen step is left out.
    """
    left = [p for p in passed if chosen is None or p.step is None or p.step >= chosen]
    return tuple(p.attempt for p in sorted(left, key=lambda p: (p.step is None, -(p.step or 0))))


def _found(resolution: Resolution, answer: _Answer, files: Files) -> Resolution:
    assert answer.chosen is not None
    chosen = answer.chosen
    attempts = (*resolution.attempts, *answer.rejected, Attempt(chosen.candidate, Outcome.FOUND))
    notes = (*resolution.notes, *_disagreements(files, chosen))
    place = chosen.files.location if chosen.match.files else replace(chosen.files.location, member=None)
    return replace(resolution, location=place, attempts=attempts, notes=notes)


def _choice(run: Run, runs: Sequence[Run], answer: _Answer, resolution: Resolution) -> Choice:
    """Return a run as a choice for a person to name.

    It has the run's newest checkpoint, and what that lacks.
    """
    assert resolution.location is not None
    newest = answer.chosen or run.trials[0]
    lack = next((a.detail for a in answer.rejected if a.candidate.url == newest.candidate.url), "")
    ref = naming(run, runs, resolution.location.url)
    return Choice(ref, newest.candidate.url, newest.shown_step, lack, of_run=True)


def _lack(manager: "Plugins", trial: Trial, run: Run, query: Query) -> str:
    """Return what a checkpoint lacks for the query's profile.

    "" where it is complete.
    """
    if trial.problem:
        return trial.problem
    try:
        lack, suspects = _verdict(manager, trial, run, query)
        trial.files.check_unchanged(failed=bool(lack), suspects=suspects)
    except ReplacedError as error:
        return error.message
    return lack


def _verdict(manager: "Plugins", trial: Trial, run: Run, query: Query) -> tuple[str, list[str]]:
    """Return what a checkpoint lacks, and files with errors."""
    checkpoint = open_match(manager, trial.files, replace(trial.match, root=""))
    request = VerifyRequest(profile=query.profile, without=query.without, run=run.has_besides(trial))
    report = manager.hooks.verify(files=trial.files, checkpoint=checkpoint, request=request)
    assert report.assessment is not None
    if report.assessment.verdict is Verdict.COMPLETE:
        return "", []
    errors = [finding for finding in report.findings if finding.severity is Severity.ERROR]
    lack = "; ".join([report.assessment.summary, *(finding.message for finding in errors[:1])])
    return lack, [finding.path for finding in errors if finding.path is not None]


def _disagreements(files: Files, chosen: Trial) -> Iterator[str]:
    """Yield notes on pointers and links that name another checkpoint.

    Another than the chosen one.
    """
    chosen_name = printable(chosen.root or ".")
    for path in files.skipped:
        end = files.link_end(path) if path.rpartition("/")[2] in _LINKS else None
        if end is not None and end.rstrip("/").rpartition("/")[2] not in chosen.root.split("/"):
            link = printable(path)
            yield f"{link} leads to {printable(end, 80)}; the newest complete checkpoint is {chosen_name}"
    for pointer in _POINTERS:
        if pointer not in files.entries or files.size(pointer) > _MAX_POINTER:
            continue
        text = files.read(pointer).decode("utf-8", "replace").strip()
        if text not in (chosen.root, *chosen.root.split("/"), str(chosen.step)):
            yield f"{pointer} names {printable(text, 80)}; the newest complete checkpoint is {chosen_name}"
