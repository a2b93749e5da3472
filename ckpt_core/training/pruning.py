"""The checkpoints of a run that no rule keeps.

They are listed, and removed when those that are kept are proved to be whole.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ckpt_core.arguments import argument
from ckpt_core.errors import CheckpointNotFoundError, CkptError, CorruptError, UsageError
from ckpt_core.schema.text import printable, redact
from ckpt_core.storage.checking.sealed_files import prove_sealed
from ckpt_core.storage.listing import list_files
from ckpt_core.storage.urls import local_path
from ckpt_core.training.choosing import proved, record_of
from ckpt_core.training.record import Record
from ckpt_core.training.retention import Keep
from ckpt_core.training.run import Run
from ckpt_core.training.run_folder import RunFolder
from ckpt_core.training.runs import open_any_run
from ckpt_core.training.saving.thinning import make_thin, thinned_bytes
from ckpt_core.training.tiers.arguments import refuse_undoable
from ckpt_core.training.tiers.noted_uploads import waiting_aliases
from ckpt_core.verbs.load import load


@dataclass(frozen=True, slots=True)
class Pruned:
    """The kept and the removed checkpoints of a pruning.

    Attributes:
        run: The folder, or its URL.
        kept: Size in bytes of each checkpoint that is kept, by name.
        removed: The same of those that go; they are there still where it was not applied.
        thinned: The bytes that others of those that are kept are made thinner by, by name; see `Keep.thin_every`.
        left: What was left alone, since it is not known to be of this run, each with the reason.
        notes: What else there is to say: a best value whose checkpoint is not there.
        applied: Whether they were removed.
    """

    run: str
    kept: Mapping[str, int] = field(default_factory=dict)
    removed: Mapping[str, int] = field(default_factory=dict)
    thinned: Mapping[str, int] = field(default_factory=dict)
    left: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    applied: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of what goes."""
        return sum(self.removed.values()) + sum(self.thinned.values())


def prune(run: str | os.PathLike[str], keep: Keep, *, apply: bool = False) -> Pruned:
    """List or remove the checkpoints that a rule does not keep.

    Of a run.

    Args:
        run: The folder or URL that a Checkpointer writes or uploads to: `s3://`, `gs://`, `wandb://` too.
        keep: The rule; the newest is always kept.
        apply: Remove them, after every byte of those that are kept was proved.

    Raises:
        CheckpointNotFoundError: No checkpoint is there.
        UsageError: The metric of the rule was never saved, or the place does not do what it wants; nothing was removed.
        CorruptError: One that would be kept is not whole; nothing was removed.
        LockedError: A training is running there; nothing was removed.
    """
    there = open_any_run(os.fspath(run))
    refuse_undoable(there, keep, "keep")
    if not there.steps():
        raise CheckpointNotFoundError(f"{_shown(there.path)}: no checkpoint-STEP is there")
    if not apply:
        return _planned(there, keep)[0]
    there.open()
    try:
        plan, steps = _planned(there, keep)
        for step in _steps_of(plan.kept):
            _prove(there.place(step))
        for step in steps:
            (there.put_aside if keep.recoverable else there.remove)(step)
        for step in _steps_of(plan.thinned):
            make_thin(there.place(step))
    finally:
        there.close()
    return replace(plan, applied=True)


def undelete(run: str | os.PathLike[str], step: int) -> str:
    """Bring back a checkpoint that was put aside; return its path.

    After every byte of it was proved.

    Args:
        run: The folder that a Checkpointer writes to.
        step: The step of the checkpoint.

    Raises:
        CheckpointNotFoundError: None of that step was put aside, or it was removed for good.
        OverwriteError: There is another one of that step.
        CorruptError: It is not whole; it stays aside.
        LockedError: A training is running there.
    """
    folder = RunFolder(os.fspath(run))
    with _opened(folder):
        folder.put_back(step)
        try:
            prove_sealed(list_files(folder.place(step)))
        except CkptError:
            folder.put_aside(step)
            raise
    return folder.place(step)


def purge(run: str | os.PathLike[str]) -> list[int]:
    """Remove for good what was put aside; return its steps.

    LockedError where a training runs there.
    """
    folder = RunFolder(os.fspath(run))
    with _opened(folder):
        gone = folder.aside()
        for step in gone:
            folder.remove_aside(step)
    return gone


@contextmanager
def _opened(folder: RunFolder) -> Iterator[None]:
    if not os.path.isdir(folder.path):
        raise CheckpointNotFoundError(f"{printable(folder.path)}: no run is there; check the name")
    folder.open()
    try:
        yield
    finally:
        folder.close()


def _prove(place: str) -> None:
    try:
        proved(place, sealed=True)
    except CkptError as error:
        raise CorruptError(
            f"{_shown(place)}: would be kept and is not whole ({error.message}); nothing was removed; "
            "take it out of the folder, and prune again"
        ) from error


def _planned(run: Run, keep: Keep) -> tuple[Pruned, list[int]]:
    records, left = _records(run)
    metrics = {step: record.history.get(step, {}) for step, record in records.items()}
    _refuse_unknown(keep, metrics)
    named = {step: names for step, names in _named(run, records).items() if step in records}
    said = sorted(named.items())
    whole = keep.kept(metrics, run.committed_at) | named.keys()
    thin = {step for step in metrics if keep.is_thin(step)} - whole
    kept = whole | thin
    thinner = {f"checkpoint-{step}": thinned_bytes(run.place(step)) for step in sorted(thin)}
    sizes = {step: _size(run.place(step)) for step in sorted(records)}
    plan = Pruned(
        _shown(run.path),
        {f"checkpoint-{step}": size for step, size in sizes.items() if step in kept},
        {f"checkpoint-{step}": size for step, size in sizes.items() if step not in kept},
        {name: size for name, size in thinner.items() if size},
        left,
        (*_notes(keep, records), *(f"checkpoint-{step}: is {', '.join(names)}, and stays" for step, names in said)),
    )
    return plan, [step for step in sizes if step not in kept]


def _named(run: Run, records: Mapping[int, Record]) -> Mapping[int, Sequence[str]]:
    """Return the steps that something names.

    There, or where they are to be uploaded to.
    """
    if not isinstance(run, RunFolder):
        return run.named()
    waiting = waiting_aliases(run, records, next(iter(records.values())).run)
    return {step: [f"{alias} (not uploaded yet)" for alias in aliases] for step, aliases in waiting.items()}


def _records(run: Run) -> tuple[dict[int, Record], dict[str, str]]:
    """Return the record of each checkpoint of the newest one's run.

    The reason why each other one is left alone comes with them.
    """
    found: dict[int, Record] = {}
    left: dict[str, str] = {}
    for step in sorted(run.steps(), reverse=True):
        try:
            record = record_of(load(run.place(step)))
        except CkptError as error:
            left[f"checkpoint-{step}"] = error.message
            continue
        if found and record.run != next(iter(found.values())).run:
            left[f"checkpoint-{step}"] = "it is of another run"
        else:
            found[step] = record
    if not found:
        raise CheckpointNotFoundError(f"{_shown(run.path)}: no checkpoint there is one of a Checkpointer's")
    return found, left


def _refuse_unknown(keep: Keep, metrics: Mapping[int, Mapping[str, Any]]) -> None:
    name = (keep.best or "").removeprefix("+")
    if keep.best is not None and not any(name in found for found in metrics.values()):
        known = ", ".join(sorted({printable(one, 60) for found in metrics.values() for one in found})) or "none"
        raise UsageError(
            f"{argument('best', keep.best)}: this metric was never saved; saved were {known}; nothing was removed"
        )


def _notes(keep: Keep, records: Mapping[int, Record]) -> list[str]:
    """Return whether a checkpoint that is there is the best.

    Of the whole run.
    """
    if keep.best is None:
        return []
    which = "greatest" if keep.best.startswith("+") else "least"
    name = keep.best.removeprefix("+")
    best = records[max(records)].best.get(name, {})
    step = best.get(f"{which}_at")
    if step is None or step in records:
        return []
    return [f"the best {name} of the run, {best[which]:g} at step {step:g}, is of a checkpoint that is not there"]


def _steps_of(names: Iterable[str]) -> list[int]:
    return [int(name.removeprefix("checkpoint-")) for name in names]


def _size(place: str) -> int:
    if local_path(place) is None:
        files = list_files(place)
        return sum(files.size(path) for path in files.entries)
    return sum(os.path.getsize(os.path.join(root, name)) for root, _, names in os.walk(place) for name in names)


def _shown(place: str) -> str:
    return redact(place) if "://" in place else printable(place)
