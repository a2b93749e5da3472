"""The plan for the objects of a training about to go on.

The work that carries the plan out is here too.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ckpt_core.arguments import argument
from ckpt_core.errors import LoadRefusedError, UsageError
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.training import random_states
from ckpt_core.training.data.exact_loader import ExactLoader
from ckpt_core.training.objects import GRADIENTS, HISTORY, TRAINING
from ckpt_core.training.own_state.history import History
from ckpt_core.training.planning import rates
from ckpt_core.training.planning.plan import Effect, PlanRow, ResumePlan
from ckpt_core.training.planning.provenance import compare_provenance
from ckpt_core.training.planning.resuming import Resumed, fill_all, half_filled, prepare_gradients, prepare_objects
from ckpt_core.training.planning.rows import Rows
from ckpt_core.training.ranks.team import Team, saved_world
from ckpt_core.training.record import Record
from ckpt_core.training.saving.modular_layout import as_captured
from ckpt_core.training.values import torch_state

_PLAIN = ("rng", "progress", TRAINING, GRADIENTS, HISTORY)
"""Labels of what is no object of the training."""

_CONFIGS = ("config", "config:generation")
"""Of the model's class: written for who opens the model by itself."""


class Choices(NamedTuple):
    """The choices of the caller of a resume.

    Attributes:
        lr: Which learning rate counts, `checkpoint` or `argument`; None where nobody said.
        max_steps: Steps after which the training ends; None where it does not.
        data: `argument` to begin the data that is given; None to go on in that of the checkpoint.
    """

    lr: str | None = None
    max_steps: int | None = None
    data: str | None = None

    def check(self) -> None:
        """Raise UsageError where one is not among those that there are."""
        if self.lr not in (None, rates.CHECKPOINT, rates.ARGUMENT):
            raise UsageError(f"{argument('lr')}: checkpoint or argument is needed, not {self.lr!r}")
        if self.data not in (None, rates.ARGUMENT):
            raise UsageError(f"{argument('data')}: argument is needed, or nothing, not {self.data!r}")


class Planned(NamedTuple):
    """A plan, and the work that carries it out.

    Once nothing of it is refused.

    Attributes:
        fill: Fills every object; raises as `fill_all`.
        history: The metrics of every step, as a `History` has them.
    """

    plan: ResumePlan
    record: Record
    raise_refused: Callable[[], None]
    fill: Callable[[], None]
    restored: tuple[str, ...]
    unused: tuple[str, ...]
    history: Mapping[str, Any]

    def resumed(self) -> Resumed:
        """Return what the training goes on from, once it was filled."""
        record = self.record
        return Resumed(
            step=record.step,
            epoch=record.epoch or 0,
            location=self.plan.location,
            metrics=record.history.get(record.step, {}),
            best=record.best,
            restored=self.restored,
            unused=self.unused,
            changed=tuple(row.sentence() for row in self.plan.changed),
            rejected=self.plan.rejected,
            history=_by_step(self.history),
            plan=self.plan,
        )


def _by_step(state: Mapping[str, Any]) -> dict[str, dict[int, float]]:
    history = History()
    history.load_state_dict(state)
    return {name: history.of(name) for name in state}


def planned(
    objects: Mapping[str, Any],
    checkpoint: StoredCheckpoint,
    record: Record,
    choices: Choices,
    *,
    environment: Mapping[str, Any],
    rejected: Mapping[str, str],
    team: Team | None = None,
) -> Planned:
    """Read everything, compare it with the objects, and plan.

    Nothing is changed.

    Raises:
        CkptError: It cannot be read.
    """
    rows, where = Rows(), str(checkpoint.location)
    compare_steps(rows, where, record.step, choices.max_steps)
    loader = objects.get("sampler") if choices.data == rates.ARGUMENT else None
    kept = {label: one for label, one in objects.items() if one is not loader}
    prepared = prepare_objects(kept, checkpoint, rows, team or Team())
    optimizers = {label: one for label, one in objects.items() if hasattr(one, "param_groups")}
    for label in optimizers.keys() & prepared.keys():
        rates.compare_groups(rows, label, prepared[label].groups, optimizers[label].param_groups, choices.lr)
    _compare_data(rows, kept.get("sampler"), checkpoint)
    begin = _beginning(rows, loader, record, checkpoint)
    gradients = _tried(rows, GRADIENTS, lambda: prepare_gradients(objects["model"], checkpoint))
    rng = _generators(rows, checkpoint, team or Team())
    labels = [part.label for part in checkpoint.manifest.components if part.label not in _CONFIGS]
    unused = tuple(label for label in labels if label not in {*objects, *_PLAIN} and not label.startswith("rng:"))
    _add_plain(rows, labels, unused)
    compare_provenance(rows, torch_state(checkpoint, checkpoint.component(TRAINING)), environment)
    own = {label: rates.base_rates(one.param_groups) for label, one in optimizers.items()}

    def fill() -> None:
        fill_all(prepared)
        try:
            fill_rest()
        except Exception as error:
            raise half_filled(where, error) from error

    def fill_rest() -> None:
        for label, one in optimizers.items() if choices.lr == rates.ARGUMENT else ():
            rates.set_rates(one, own[label], objects.get("scheduler"))
        gradients()
        rng()
        begin()

    plan = ResumePlan(where, record.step, record.epoch, tuple(rows.rows), rejected)
    same_ranks = (team or Team()).saved_label(saved_world(checkpoint, TRAINING)) is not None
    restored = tuple(label for label in labels if label in kept or (label == "rng" and same_ranks))
    history = torch_state(checkpoint, checkpoint.component(HISTORY)) if HISTORY in labels else {}
    return Planned(plan, record, rows.raise_refused, fill, restored, unused, history)


def _random(checkpoint: StoredCheckpoint, label: str) -> Mapping[str, Any]:
    return as_captured(torch_state(checkpoint, checkpoint.component(label)))


def compare_steps(rows: Rows, where: str, done: int, last: int | None) -> None:
    """Add the row of steps.

    Where none remain, nothing would run, which is an error.
    """
    if last is not None and done >= last:
        message = f"{where}: step {done} ≥ {argument('max_steps', last)}: nothing would run; "
        rows.refuse("steps", UsageError(f"{message}train for more steps, or begin in another folder"), done, last)
    else:
        rows.add("steps", done, last, note="" if last is None else f"{last - done} remain")


def _compare_data(rows: Rows, loader: Any, checkpoint: StoredCheckpoint) -> None:
    labels = [part.label for part in checkpoint.manifest.components]
    if not isinstance(loader, ExactLoader) or "sampler" not in labels:
        return
    saved = torch_state(checkpoint, checkpoint.component("sampler"))
    if isinstance(saved, Mapping) and saved.keys() == loader.state_dict().keys():
        own = loader.state_dict()
        rows.add("sampler: position", loader.where(saved), None)
        for key in loader.MAY_CHANGE:
            rows.compare(f"sampler: {key}", saved[key], own[key], loader.AFTER_A_CHANGE)


def _generators(rows: Rows, checkpoint: StoredCheckpoint, team: Team) -> Callable[[], None]:
    """Return the step that restores this rank's generators.

    It has states of its own where as many ranks saved.
    """
    saved = saved_world(checkpoint, TRAINING)
    label = team.saved_label(saved)
    if label is not None:
        return _tried(rows, "rng", lambda: random_states.restoring(_random(checkpoint, label)))
    note = "what a step draws (dropout) is not what it would have been; the data is, which is drawn by keys"
    rows.rows.append(PlanRow("rng", f"{saved} ranks", f"{team.world} ranks", Effect.OVERRIDDEN, note, True))
    return lambda: None


def _beginning(rows: Rows, loader: Any, record: Record, checkpoint: StoredCheckpoint) -> Callable[[], None]:
    """Return what begins other data in the epoch of a record.

    Nothing where none is to begin.
    """
    if loader is None:
        return lambda: None
    epoch = record.epoch or 0
    note = "the data that is given is begun, in this epoch"
    rows.rows.append(PlanRow("sampler", f"epoch {epoch}", type(loader).__name__, Effect.OVERRIDDEN, note, True))
    if any(part.label == GRADIENTS for part in checkpoint.manifest.components):
        message = f"{checkpoint.location}: it was saved between the batches of a group, whose data is another now; "
        rows.refuse(GRADIENTS, UsageError(f"{message}go on from one that was saved behind a step"))
    return lambda: setattr(loader, "epoch", epoch)


def _tried(rows: Rows, what: str, prepare: Callable[[], Callable[[], None]]) -> Callable[[], None]:
    try:
        return prepare()
    except (LoadRefusedError, UsageError) as error:
        rows.refuse(what, error)
        return lambda: None


def _add_plain(rows: Rows, labels: Sequence[str], unused: Sequence[str]) -> None:
    """Add rows of generators and gradients, and of unused things.

    The first two are no objects of the training.
    """
    refused = {row.what for row in rows.rows}
    for label in labels:
        if label in ("rng", GRADIENTS, HISTORY) and label not in refused:
            rows.add(label, "saved", None)
    for label in unused:
        rows.add(label, "saved", None, Effect.UNUSED, "nothing was given for it")
