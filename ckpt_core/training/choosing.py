"""The checkpoint of a run that a training goes on from.

The newest that is proved whole, or the one that is named.
"""

from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

from ckpt_core.arguments import argument
from ckpt_core.errors import (
    AmbiguousRunError,
    CheckpointNotFoundError,
    CkptError,
    CorruptError,
    IncompleteError,
    ReplacedError,
    UsageError,
)
from ckpt_core.log import Logger
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.schema.text import printable, redact
from ckpt_core.schema.verification import Depth
from ckpt_core.storage.checking.sealed_files import prove_rest
from ckpt_core.storage.files.moments import one_moment
from ckpt_core.storage.sealing import read_seal
from ckpt_core.training.record import Record
from ckpt_core.training.run import Run
from ckpt_core.verbs.load import load
from ckpt_core.verbs.verify import verify

_log = Logger(__name__)

NEWEST, REQUIRED = "newest", "required"


T = TypeVar("T")

Recorded = Callable[[StoredCheckpoint], Record]
"""What a checkpoint says of its run; raises LoadRefusedError where it is not of the kind that says it."""

Plan = Callable[[StoredCheckpoint, Mapping[str, str]], T]
"""Reads of a checkpoint what a training needs; it is told which newer ones were passed over."""


class Chosen(NamedTuple, Generic[T]):
    """A proved checkpoint, and the newer ones that are not.

    Each of those with the reason.

    Attributes:
        plan: What the plan has read of it, in the pass that proved it; None where there was no such pass.
    """

    checkpoint: StoredCheckpoint
    rejected: Mapping[str, str]
    plan: T | None = None


def choose(
    run: Run,
    policy: "str | int",
    *,
    far: Run | None = None,
    recorded: Recorded | None = None,
    plan: Plan[T] | None = None,
) -> Chosen[T] | None:
    """Return the checkpoint that a policy means in a run.

    None where there is nothing and nothing is required.

    Args:
        run: Where it writes.
        policy: `newest`, `required` (the newest, and an error where there is none), a step, or a path.
        far: Where it is uploaded to. Of two with the same step the one in `run` counts.
        recorded: Reads what a checkpoint says of its run; None for what a Checkpointer wrote.
        plan: Reads what is needed of it, without changing anything. What it reads is proved by that read, where a seal
            alone proves it; what is left of the checkpoint is read for the proof alone.

    Raises:
        IncompleteError: There are checkpoints, and none of them is whole.
        AmbiguousRunError: Two runs, or two branches of one, have checkpoints there.
        CkptError: The one that is named is not there, or is not whole; or the place does not answer.
    """
    steps = run.look()
    if isinstance(policy, int):
        where = far if far is not None and policy not in steps and far.is_there(policy) else run
        return _proved(where.place(policy), plan, {}, sealed=False)
    if policy not in (NEWEST, REQUIRED):
        return _proved(policy, plan, {}, sealed=False)
    places = {step: [run.place(step)] for step in steps}
    for step in far.look() if far is not None else ():
        assert far is not None
        places.setdefault(step, []).append(far.place(step))
    if not places:
        if policy == REQUIRED:
            raise CheckpointNotFoundError(f"{redact(run.path)}: no checkpoint-STEP is there to go on from")
        return None
    rejected: dict[str, str] = {}
    for step in sorted(places, reverse=True):
        for place in places[step]:
            try:
                chosen = _proved(place, plan, rejected, sealed=True)
            except ReplacedError:
                raise
            except CkptError as error:
                rejected[f"checkpoint-{step}"] = error.message
                _log.warning("%s: passed over: %s", redact(place), error.message)
                continue
            _refuse_branches(run, places, step, chosen.checkpoint, recorded or record_of)
            return chosen
    reasons = "; ".join(rejected.values())
    raise IncompleteError(f"{redact(run.path)}: none of {len(places)} checkpoints is whole: {reasons}")


def proved(place: str, *, sealed: bool) -> StoredCheckpoint:
    """Return the checkpoint at a place, proved.

    After every byte of it was read and compared.

    Raises:
        CkptError: It is not there, has no seal where one is needed, or is not whole.
    """
    checkpoint = _opened(place, sealed=sealed)
    _refuse_damaged(checkpoint, Depth.BYTES)
    return checkpoint


def _proved(place: str, plan: Plan[T] | None, rejected: Mapping[str, str], *, sealed: bool) -> Chosen[T]:
    """Return the checkpoint at a place as `proved`, with its plan."""
    checkpoint = _opened(place, sealed=sealed)
    made = None if plan is None else _planned_in_the_proof(checkpoint, plan, rejected)
    if made is None:
        _refuse_damaged(checkpoint, Depth.BYTES)
    return Chosen(checkpoint, rejected, made)


def _planned_in_the_proof(checkpoint: StoredCheckpoint, plan: Plan[T], rejected: Mapping[str, str]) -> T | None:
    """Return the plan of a checkpoint that is proved by being read.

    None where other checksums than a seal's are to be compared; and where something failed, of which a walk over every
    byte has to say whether that is damage, and which tensors have it.

    Raises:
        CorruptError: Its layout is damaged.
        ReplacedError: It was replaced meanwhile.
    """
    if read_seal(checkpoint.files) is None:
        return None
    _refuse_damaged(checkpoint, Depth.LAYOUT)
    try:
        with one_moment(checkpoint, failures_only=True):
            checkpoint.confirm()
            if checkpoint.checksums is not None and list(checkpoint.checksums()):
                return None
            made = plan(checkpoint, rejected)
            prove_rest(checkpoint.files)
    except ReplacedError:
        raise
    except CkptError:
        return None
    return made


def _opened(place: str, *, sealed: bool) -> StoredCheckpoint:
    checkpoint = load(place)
    if sealed and read_seal(checkpoint.files) is None:
        raise CorruptError(f"{printable(place)}: it has no seal, so that its bytes cannot be proved")
    return checkpoint


def _refuse_damaged(checkpoint: StoredCheckpoint, depth: Depth) -> None:
    report = verify(checkpoint, depth=depth).report
    if not report.ok:
        finding = next(found for found in report.findings if found.severity.name == "ERROR")
        message = f"{printable(str(checkpoint.location))}: {finding.message}"
        raise CorruptError(message, code=finding.code, path=finding.path)


def record_of(checkpoint: StoredCheckpoint) -> Record:
    """Return a checkpoint's record of its run.

    LoadRefusedError where no Checkpointer wrote it.
    """
    where = str(checkpoint.location)
    try:
        part = checkpoint.component("progress")
    except UsageError:
        return Record.of_state(None, where)
    return Record.of_state(part.state, where)


def _refuse_branches(
    run: Run, places: Mapping[int, list[str]], chosen: int, checkpoint: StoredCheckpoint, recorded: Recorded
) -> None:
    """Refuse an older checkpoint of another run.

    AmbiguousRunError; or of a later attempt.
    """
    newest = recorded(checkpoint)
    for step in sorted(places, reverse=True):
        if step >= chosen:
            continue
        try:
            other = recorded(load(places[step][0]))
        except CkptError:
            continue  # not whole: nothing goes on from it
        names = f"checkpoint-{chosen} and checkpoint-{step}"
        if other.run != newest.run:
            reason = f"{names} are of two runs"
        elif other.attempt > newest.attempt:
            reason = f"{names} are of two branches: attempt {newest.attempt} and the later attempt {other.attempt}"
        else:
            continue
        raise AmbiguousRunError(
            f"{redact(run.path)}: {reason}; name the step to go on from with {argument('policy', step)}"
        )
