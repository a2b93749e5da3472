"""The plan of a run that nobody has started again yet.

It is made of what its newest checkpoint holds, of any layout.
"""

import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ckpt_core.arguments import argument
from ckpt_core.errors import CkptError, LoadRefusedError, UnreachableError, UnsupportedFormatError, UsageError
from ckpt_core.layouts.training_record import TrainingRecord, training_record
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.schema.kinds import WEIGHTS
from ckpt_core.schema.locations import Outcome
from ckpt_core.schema.profiles import AssessmentLine
from ckpt_core.schema.roles import Presence
from ckpt_core.storage.files.moments import one_moment
from ckpt_core.storage.listing import list_files
from ckpt_core.storage.sealing import read_seal
from ckpt_core.storage.urls import local_path
from ckpt_core.training.choosing import REQUIRED, Chosen, choose
from ckpt_core.training.objects import TRAINING
from ckpt_core.training.planning.plan import Effect, ResumePlan
from ckpt_core.training.planning.rates import ARGUMENT, CHECKPOINT, compare_rates
from ckpt_core.training.planning.rows import Rows
from ckpt_core.training.planning.settings import Settings, given_settings, settings_of
from ckpt_core.training.run import Run
from ckpt_core.training.runs import open_run
from ckpt_core.verbs.load import load
from ckpt_core.verbs.locate import locate
from ckpt_core.verbs.verify import verify

_NEXT = "that of the next run counts"
_BEGINS = "this part begins anew"
_OTHER_ORDER = "the order of the data is another: of this epoch, samples come twice or never"
_SAMPLES = "it goes on behind the last sample: none comes twice or is left out"
_BATCHES = "batches are skipped, not samples: of this epoch, samples come twice or never"
_LOSSES = "the losses are not those of an uninterrupted run"
_CALLBACK = "the Trainer leaves it, unless restore_callback_states_from_checkpoint is True"
_SIZES = ("num_", "n_", "hidden", "vocab", "intermediate", "max_position", "head", "rank", "d_")
_SIZE_ENDS = ("_size", "_dim", "_rank", "_heads", "_layers", "_experts", "width", "depth")


def plan_resume(
    run: str | os.PathLike[str],
    arguments: Mapping[str, Any] | None = None,
    *,
    lr: str | None = None,
) -> ResumePlan:
    """Return the plan of the next run.

    What it would go on from, and how that fits what it is called with.

    Args:
        run: The folder of a run, or one checkpoint: of a Checkpointer, transformers' Trainer, Lightning, Accelerate, or
            another layout that is read. Of a run of a Checkpointer the newest of which every byte is proved; of others
            the newest that is complete to resume from.
        arguments: What the next run is called with, by the names of its arguments (`max_steps`, `learning_rate`,
            `batch_size`, …) and of the fields of the model's config; None to compare nothing.
        lr: Where the learning rate is another, which counts: `checkpoint` or `argument`.

    Raises:
        CheckpointNotFoundError: Nothing is there.
        IncompleteError: No checkpoint there is complete to resume from.
        AmbiguousRunError: There are several runs or branches.
        CkptError: It cannot be read.
    """
    if lr not in (None, CHECKPOINT, ARGUMENT):
        raise UsageError(f"{argument('lr')}: checkpoint or argument is needed, not {lr!r}")
    checkpoint, rejected = _newest(os.fspath(run))
    with one_moment(checkpoint):
        record, saved = training_record(checkpoint), settings_of(checkpoint)
        lines = _lines(checkpoint)
    given, rows, ours = given_settings(arguments or {}), Rows(), _is_ours(checkpoint)
    where, step = str(checkpoint.location), record.step or 0
    _add_steps(rows, where, step, record, saved, given)
    for line in lines:
        _add_role(rows, checkpoint, line)
    _add_rates(rows, checkpoint, record, given.known.get("learning rate"), lr, ours=ours)
    _add_data(rows, where, saved, given, ours=ours)
    _add_arguments(rows, where, saved, given)
    _add_callbacks(rows, saved)
    for name, release in record.versions.items():
        here = _installed(name)
        if here is not None:
            rows.compare(f"version of {name}", release, here, "losses may differ in their last digits")
    return ResumePlan(where, step, record.epoch, tuple(rows.rows), rejected)


def _newest(run: str) -> tuple[StoredCheckpoint, Mapping[str, str]]:
    ours = _run_of(run)
    if ours is not None and any(_is_a_checkpointers(ours.place(step)) for step in ours.steps()):
        chosen: Chosen[Any] | None = choose(ours, REQUIRED)
        assert chosen is not None
        return chosen.checkpoint, chosen.rejected
    found = locate(run, profile="resume")
    passed = [attempt for attempt in found.attempts if attempt.outcome is Outcome.REJECTED]
    rejected = {posixpath.basename(str(attempt.candidate)): attempt.detail for attempt in passed}
    place = found.require()
    return load(place.url if place.member is None else f"{place.url}#{place.member}"), rejected


def _run_of(run: str) -> Run | None:
    """Return the run of a path or a URL.

    None of another reference, and where no run can be: at what publishes versions.
    """
    if local_path(run) is None and ("://" not in run or "#" in run):
        return None
    try:
        return open_run(run)
    except UnsupportedFormatError:
        return None


def _is_a_checkpointers(place: str) -> bool:
    """Return whether a Checkpointer wrote a checkpoint, whole or not."""
    try:
        files = list_files(place)
        seal = read_seal(files)
    except UnreachableError:
        raise
    except CkptError:
        return False
    return "bundle.json" in files.entries or (seal is not None and "run" in seal.provenance)


def _is_ours(checkpoint: StoredCheckpoint) -> bool:
    """Return whether a Checkpointer wrote it, in whichever format."""
    return any(part.label == TRAINING for part in checkpoint.manifest.components)


def _lines(checkpoint: StoredCheckpoint) -> Sequence[AssessmentLine]:
    assessment = verify(checkpoint, profile="exact-resume").report.assessment
    return () if assessment is None else assessment.lines


def _add_steps(rows: Rows, where: str, done: int, record: TrainingRecord, saved: Settings, given: Settings) -> None:
    said = _last_step(given, saved, record)
    last = saved.known.get("max_steps") if said is None else said
    if not isinstance(last, int):
        rows.add("steps", done, None)
    elif done >= last:
        what = f"{where}: step {done} ≥ {last}, {'its' if said is None else 'the'} last one: nothing would run"
        rows.refuse("steps", UsageError(f"{what}; train for more steps (max_steps)"), done, said)
    else:
        made_for = f" of the {last} that it was made for" if said is None else ""
        rows.add("steps", done, said, note=f"{last - done} remain{made_for}")


def _last_step(given: Settings, saved: Settings, record: TrainingRecord) -> int | None:
    """Return the step at which the next run ends.

    The one that is said, or that of its epochs, counted in those of the one before.
    """
    steps, epochs = given.known.get("max_steps"), given.known.get("epochs")
    if isinstance(steps, int):
        return steps
    if not isinstance(epochs, int | float) or not record.step or not record.epoch:
        return None
    whole, old = saved.known.get("max_steps"), saved.known.get("epochs")
    an_epoch = record.step / record.epoch
    if isinstance(whole, int) and isinstance(old, int | float) and abs(whole / old - an_epoch) < 1:
        an_epoch = whole / old
    return round(epochs * an_epoch)


def _add_role(rows: Rows, checkpoint: StoredCheckpoint, line: AssessmentLine) -> None:
    role = line.role
    if role.presence is Presence.ABSENT and line.needed:
        rows.add(role.label, None, None, Effect.MISSING, role.note or _BEGINS)
    elif role.presence in (Presence.PRESENT, Presence.DERIVED, Presence.SYNTHESIZED):
        rows.add(role.label, _content(checkpoint, role.label), None, note=role.note)
    elif role.presence is Presence.EMPTY and _is_ours(checkpoint):
        rows.add(role.label, "no state", None, note=f"{role.note}: what it keeps begins at zero")
    elif role.presence not in (Presence.ABSENT, Presence.NOT_NEEDED):
        reason = ": ".join(filter(None, (role.presence.value, role.note)))
        rows.refuse(role.label, LoadRefusedError(f"{checkpoint.location}, {role.label}: {reason}"))


def _content(checkpoint: StoredCheckpoint, label: str) -> str:
    part = next((part for part in checkpoint.manifest.components if part.label == label), None)
    if part is None:
        return "follows from the step"
    return f"{len(part.tensors)} tensors" if part.kind in (*WEIGHTS, "optimizer") else "saved"


def _add_rates(
    rows: Rows, checkpoint: StoredCheckpoint, record: TrainingRecord, given: Any, lr: str | None, *, ours: bool
) -> None:
    bases = list(dict.fromkeys(_base_rates(checkpoint))) or list(record.learning_rates)
    if not isinstance(given, int | float) or isinstance(given, bool) or not bases:
        for rate in bases:
            rows.add("learning rate", rate, None)
        return
    for number, rate in enumerate(bases):
        where = "optimizer" if len(bases) == 1 else f"optimizer rate {number}"
        if lr == ARGUMENT and not ours and rate != given:
            message = f"{where}: a trainer that loads its optimizer's state takes the checkpoint's rate, {rate:g}; "
            message += f"say {argument('lr', CHECKPOINT)}, or go on with a Checkpointer"
            rows.refuse(f"{where}: learning rate", LoadRefusedError(message), rate, float(given))
        else:
            compare_rates(rows, where, rate, float(given), lr)


def _base_rates(checkpoint: StoredCheckpoint) -> Iterator[float]:
    """Yield the rates before any schedule.

    A schedule keeps them, or an optimizer's groups do.
    """
    for part in checkpoint.manifest.components:
        state = part.state if isinstance(part.state, dict) else {}
        rates = state.get("base_lrs") if part.kind == "scheduler" else None
        if isinstance(rates, list):
            yield from (float(rate) for rate in rates if isinstance(rate, int | float))


def _add_data(rows: Rows, where: str, saved: Settings, given: Settings, *, ours: bool) -> None:
    behind = f"{_SAMPLES}; {_LOSSES}" if ours else _BATCHES
    notes = {
        "batch_size": behind,
        "accumulate": _LOSSES if ours else behind,
        "num_workers": "the samples are the same again" if ours else "what is drawn in workers is another",
        "world_size": behind,
    }
    for name, note in notes.items():
        held, value = saved.known.get(name), given.known.get(name)
        rows.compare(f"data: {name}", held, value, _NEXT if value is None else note)
    first, second = saved.known.get("seed"), given.known.get("seed")
    if ours and None not in (first, second) and first != second:
        message = f"{where}, sampler: seed is {second} here and was {first}: samples would come twice or never"
        rows.refuse("data: seed", LoadRefusedError(message), first, second)
    else:
        rows.compare("data: seed", first, second, _NEXT if second is None else _OTHER_ORDER)


def _add_arguments(rows: Rows, where: str, saved: Settings, given: Settings) -> None:
    for name, value in given.arguments.items():
        held = saved.model.get(name)
        if held is not None and held != value and _is_size(name, held):
            message = f"{where}, model: its tensors were made with {name} {held}, and the next run has {value}: another"
            rows.refuse(f"model: {name}", LoadRefusedError(f"{message} architecture"), held, value)
        elif held is not None:
            rows.compare(f"model: {name}", held, value, "the model computes otherwise")
        else:
            rows.compare(f"argument {name}", saved.arguments.get(name), value)


def _is_size(name: str, value: Any) -> bool:
    """Return whether a field of a config sizes its tensors."""
    return type(value) is int and (name.startswith(_SIZES) or name.endswith(_SIZE_ENDS))


def _add_callbacks(rows: Rows, saved: Settings) -> None:
    restored = saved.arguments.get("restore_callback_states_from_checkpoint") is True
    for name, state in saved.callbacks.items():
        kept = state.get("attributes") if isinstance(state, Mapping) else None
        if kept:
            effect, note = (Effect.RESTORED, "") if restored else (Effect.UNUSED, _CALLBACK)
            rows.add(f"callback {name}", ", ".join(f"{key} {value}" for key, value in kept.items()), None, effect, note)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
