"""Which checkpoint of a run a training goes on from: the newest that is proved whole, or the one that is named."""

from collections.abc import Mapping
from typing import NamedTuple

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
from ckpt_core.schema.text import printable
from ckpt_core.schema.verification import Depth
from ckpt_core.storage.sealing import read_seal
from ckpt_core.training.record import Record
from ckpt_core.training.run_folder import RunFolder
from ckpt_core.verbs.load import load
from ckpt_core.verbs.verify import verify

_log = Logger(__name__)

NEWEST, REQUIRED = "newest", "required"


class Chosen(NamedTuple):
    """A checkpoint that is proved, and newer ones that are not, each with the reason."""

    checkpoint: StoredCheckpoint
    rejected: Mapping[str, str]


def choose(run: RunFolder, policy: "str | int") -> Chosen | None:
    """Return what a policy means in a run; None where there is nothing and nothing is required.

    Args:
        run: Its folder.
        policy: `newest`, `required` (the newest, and an error where there is none), a step, or a path.

    Raises:
        IncompleteError: There are checkpoints, and none of them is whole.
        AmbiguousRunError: Two runs, or two branches of one, have checkpoints there.
        CkptError: The one that is named is not there, or is not whole.
    """
    steps = run.look()
    if policy not in (NEWEST, REQUIRED):
        return Chosen(proved(run.place(policy) if isinstance(policy, int) else policy, sealed=False), {})
    if not steps:
        if policy == REQUIRED:
            raise CheckpointNotFoundError(f"{printable(run.path)}: no checkpoint-STEP is there to go on from")
        return None
    rejected: dict[str, str] = {}
    for step in steps:
        place = run.place(step)
        try:
            checkpoint = proved(place, sealed=True)
        except ReplacedError:
            raise
        except CkptError as error:
            rejected[f"checkpoint-{step}"] = error.message
            _log.warning("%s: passed over: %s", place, error.message)
            continue
        _refuse_branches(run, step, checkpoint)
        return Chosen(checkpoint, rejected)
    reasons = "; ".join(rejected.values())
    raise IncompleteError(f"{printable(run.path)}: none of {len(steps)} checkpoints is whole: {reasons}")


def proved(place: str, *, sealed: bool) -> StoredCheckpoint:
    """Return the checkpoint at a place, after every byte of it was read and compared.

    Raises:
        CkptError: It is not there, has no seal where one is needed, or is not whole.
    """
    checkpoint = load(place)
    if sealed and read_seal(checkpoint.files) is None:
        raise CorruptError(f"{printable(place)}: it has no seal, so that its bytes cannot be proved")
    report = verify(checkpoint, depth=Depth.BYTES).report
    if not report.ok:
        finding = next(found for found in report.findings if found.severity.name == "ERROR")
        raise CorruptError(f"{printable(place)}: {finding.message}", code=finding.code, path=finding.path)
    return checkpoint


def record_of(checkpoint: StoredCheckpoint) -> Record:
    """Return what a checkpoint says of its run. LoadRefusedError where no Checkpointer wrote it."""
    where = str(checkpoint.location)
    try:
        part = checkpoint.component("progress")
    except UsageError:
        return Record.of_state(None, where)
    return Record.of_state(part.state, where)


def _refuse_branches(run: RunFolder, chosen: int, checkpoint: StoredCheckpoint) -> None:
    """AmbiguousRunError where an older checkpoint is of another run, or of a later attempt."""
    newest = record_of(checkpoint)
    for step in sorted(run.known, reverse=True):
        if step >= chosen:
            continue
        try:
            other = record_of(load(run.place(step)))
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
            f"{printable(run.path)}: {reason}; name the step to go on from with {argument('policy', step)}"
        )
