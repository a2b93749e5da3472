"""A training filled from a checkpoint.

All of it is read and compared in a first pass, and only then changed, in place.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from ckpt_core.arguments import argument
from ckpt_core.errors import LoadInterruptedError, LoadRefusedError, UsageError
from ckpt_core.log import Logger
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.text import printable
from ckpt_core.training.filling import Prepared
from ckpt_core.training.loading import prepare
from ckpt_core.training.objects import GRADIENTS, TRAINING, state_of
from ckpt_core.training.planning.plan import ResumePlan
from ckpt_core.training.planning.rows import Rows
from ckpt_core.training.ranks.team import Team
from ckpt_core.training.saving.sharded_states import trained_by
from ckpt_core.training.values import read_tensors, torch_state
from ckpt_core.verbs.load_into import LoadReport
from ckpt_core.verbs.load_into import load_into as load_into_module

if TYPE_CHECKING:
    import torch

_log = Logger(__name__)


@dataclass(frozen=True, slots=True)
class Resumed:
    """The checkpoint that a training goes on from.

    Attributes:
        step: Steps of the optimizer that are done; 0 where it begins.
        epoch: As the loader counts them; 0 where it begins.
        location: The checkpoint; None where there was none, and nothing was changed.
        metrics: What was saved with it.
        best: The least and the greatest value of each metric so far, each with its step.
        restored: Labels of the components that were filled.
        unused: Labels of those that nothing was given for.
        changed: What is otherwise than when it was saved, in words.
        rejected: Newer checkpoints that were passed over, each with the reason.
        history: The values of each metric by step, of every step that `after_step` was told of.
        plan: What was done, in rows.
    """

    step: int = 0
    epoch: int = 0
    location: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    best: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    restored: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    rejected: Mapping[str, str] = field(default_factory=dict)
    history: Mapping[str, Mapping[int, float]] = field(default_factory=dict, repr=False)
    plan: ResumePlan = field(default_factory=ResumePlan, repr=False)

    def summary(self) -> str:
        """Return it in a few lines."""
        if self.location is None:
            return "nothing to go on from: the training begins at step 0"
        lines = [f"{self.location}: step {self.step}, epoch {self.epoch}; restored {', '.join(self.restored)}"]
        lines += [f"  not used: {', '.join(self.unused)}"] if self.unused else []
        lines += [f"  {change}" for change in self.changed]
        lines += [f"  passed over {name}: {reason}" for name, reason in self.rejected.items()]
        return "\n".join(lines)


def prepare_objects(
    objects: Mapping[str, Any], checkpoint: StoredCheckpoint, rows: Rows, team: Team
) -> dict[str, Prepared]:
    """Return the filling of each object, in order.

    Those that may refuse come first. Every rank goes on to the next when all of them have one: what is spread over
    ranks is prepared by all together, which would wait for one that had failed before.

    A row of each is added; what does not fit is refused there, and is not among them.

    Raises:
        CkptError: It cannot be read; nothing was changed.
    """
    classes = team.each("classes", lambda: torch_state(checkpoint, checkpoint.component(TRAINING)).get("classes", {}))
    found: dict[str, Prepared] = {}
    for label, one in objects.items():
        saved, given = classes.get(label), type(one).__name__
        try:
            part = team.each(f"part {label}", partial(_part, checkpoint, label, saved, given))
            found[label] = team.each(
                f"prepare {label}", partial(_prepare, one, checkpoint, part, trained_by(objects, label))
            )
        except (LoadRefusedError, UsageError) as error:
            rows.refuse(label, _with_a_way_out(error) if label == "sampler" else error, saved, given)
        else:
            rows.add(label, *_shown(label, objects, part, given))
    order = sorted(found, key=lambda label: (_is_module(objects[label]), label.startswith("optimizer")))
    return {label: found[label] for label in order}


def _with_a_way_out(error: LoadRefusedError | UsageError) -> LoadRefusedError | UsageError:
    """Return the refusal of other data with what lets them be begun."""
    more = f"where it is other data on purpose, {argument('data', 'argument')} begins them"
    return type(error)(f"{error.message}; {more}", code=error.code)


def _prepare(one: Any, checkpoint: StoredCheckpoint, part: Component, model: Any) -> Prepared:
    return _prepare_module(one, checkpoint, part) if _is_module(one) else prepare(one, checkpoint, part, model)


def _is_module(one: Any) -> bool:
    import torch

    return isinstance(one, torch.nn.Module)


def _shown(label: str, objects: Mapping[str, Any], part: Component, name: str) -> tuple[str, str]:
    """Return what was saved and is given of an object that fits.

    Of a module the tensors are shown, of anything else the class.
    """
    if not _is_module(objects[label]):
        return name, name
    return f"{len(part.tensors)} tensors", f"{len(state_of(label, objects))} tensors"


def _part(checkpoint: StoredCheckpoint, label: str, saved: str | None, given: str) -> Component:
    try:
        part = checkpoint.component(label)
    except UsageError as error:
        raise LoadRefusedError(f"{error.message}, and the training has one; nothing was changed") from error
    refuse_class(checkpoint, label, saved, given)
    return part


def _prepare_module(module: "torch.nn.Module", checkpoint: StoredCheckpoint, part: Component) -> Prepared:
    report = refuse_architecture(module, checkpoint, part.label)
    return Prepared(report, lambda: load_into_module(module, checkpoint, component=part.label), _no_way_back)


def refuse_architecture(module: "torch.nn.Module", checkpoint: StoredCheckpoint, label: str = "model") -> LoadReport:
    """Refuse a component with other names or shapes than a module.

    Raises LoadRefusedError; else returns the report of what would be filled.
    """
    report = load_into_module(module, checkpoint, component=label, dry_run=True)
    differing = _differences(report)
    if differing:
        raise LoadRefusedError(
            f"{report.source}, {label}: it is of another architecture: {differing}; nothing was changed",
            report=report,
        )
    return report


def _no_way_back() -> None:
    raise LoadInterruptedError("a module that was filled in place has no way back")


def _differences(report: LoadReport) -> str:
    shapes = [
        f"{printable(name, 80)} is {list(stored)} there and {list(own)} here"
        for name, (stored, own) in report.mismatched.items()
    ]
    gone = [f"{printable(name, 80)} is not in it" for name in report.missing]
    more = [f"{printable(name, 80)} is in it alone" for name in report.unexpected]
    every = [*shapes, *gone, *more]
    return "; ".join(every[:3]) + (f"; … {len(every) - 3} more" if len(every) > 3 else "")


def refuse_class(checkpoint: StoredCheckpoint, label: str, saved: str | None, given: str) -> None:
    """Refuse an object of another class than the saved one.

    LoadRefusedError; modules go by their tensors.
    """
    if saved not in (None, given) and not label.startswith("model"):
        raise LoadRefusedError(
            f"{checkpoint.location}, {label}: it is of a {saved}, and the training has a {given}; nothing was changed"
        )


def prepare_gradients(module: "torch.nn.Module", checkpoint: StoredCheckpoint) -> Callable[[], None]:
    """Return the filling of a module's saved gradients.

    Those that were not saved are taken away.
    """
    labels = [part.label for part in checkpoint.manifest.components]
    held = read_tensors(checkpoint, checkpoint.component(GRADIENTS)) if GRADIENTS in labels else {}
    return filling_gradients(module, held, str(checkpoint.location))


def filling_gradients(module: "torch.nn.Module", held: "Mapping[str, torch.Tensor]", where: str) -> Callable[[], None]:
    """Return a function that gives a module's parameters gradients.

    It takes away those that are not among them.
    """
    own = dict(module.named_parameters())
    strange = [name for name, tensor in held.items() if name not in own or own[name].shape != tensor.shape]
    if strange:
        what = f"{printable(strange[0], 80)} is the gradient of no parameter"
        raise LoadRefusedError(f"{where}, {GRADIENTS}: {what}; nothing was changed")

    def fill() -> None:
        for name, tensor in own.items():
            tensor.grad = held[name].to(tensor.device, tensor.dtype) if name in held else None

    return fill


def fill_all(prepared: Mapping[str, Prepared]) -> None:
    """Fill every object.

    Where one does not take its state, it and the others are undone.

    Raises:
        LoadRefusedError: One did not take its state; every one is as it was.
        LoadInterruptedError: Some are changed and have no way back.
    """
    begun: list[str] = []
    for label, one in prepared.items():
        begun.append(label)
        try:
            one.fill()
        except Exception as error:
            _undo(prepared, begun, error)
            if isinstance(error, LoadRefusedError | LoadInterruptedError):
                raise
            raise LoadRefusedError(f"{label}: does not take its state ({error}); everything is as it was") from error


def _undo(prepared: Mapping[str, Prepared], begun: list[str], error: Exception) -> None:
    changed = isinstance(error, LoadInterruptedError)
    for label in reversed(begun):
        try:
            prepared[label].undo()
        except Exception:
            _log.warning("%s: is changed, and has no way back", label)
            changed = True
    if changed and not isinstance(error, LoadInterruptedError):
        raise half_filled(begun[-1], error) from error


def half_filled(what: str, error: Exception) -> LoadInterruptedError:
    """Return the error of a changed training without a way back."""
    return LoadInterruptedError(f"{what}: {error}; a part of the training is changed: start the process anew")
