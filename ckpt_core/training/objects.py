"""The objects of a training under their components' labels.

The trees of state that are saved of them are made here too.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ckpt_core.arguments import argument
from ckpt_core.errors import UsageError
from ckpt_core.reading.torch.sharded.groups import has_fsdp1
from ckpt_core.training import random_states
from ckpt_core.training.filling import HasState
from ckpt_core.training.ranks.team import Team
from ckpt_core.training.record import Record
from ckpt_core.training.saving.formats import in_format
from ckpt_core.training.saving.sharded_states import model_state, optimizer_state, optioned_states, trained_by

if TYPE_CHECKING:
    import torch
    from torch.distributed.checkpoint.state_dict import StateDictOptions

GRADIENTS = "progress:gradients"
"""The component of gradients that were added up and not yet stepped with."""

HISTORY = "progress:history"
"""The component of the metrics of every step."""

EXTRA = "progress:extra"
"""The component of attributes of the model that are in no state_dict."""

TRAINING = "config:training"
"""The component of what a training runs on."""

_WRAPPERS = {"DistributedDataParallel": "module", "DataParallel": "module", "OptimizedModule": "_orig_mod"}


def labelled(named: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Return objects by the labels of their components.

    Those that are None are left out.

    Raises:
        UsageError: One has no state of its own.
    """
    import torch

    found = {label: value for label, value in named.items() if value is not None}
    for name, value in others.items():
        kinds = {torch.nn.Module: "model", torch.optim.Optimizer: "optimizer"}
        kind = next((kind for known, kind in kinds.items() if isinstance(value, known)), "progress")
        if f"{kind}:{name}" in (GRADIENTS, HISTORY, EXTRA):
            raise UsageError(f"{argument(name)}: a Checkpointer saves its own under this name; give it another one")
        found[f"{kind}:{name}"] = value
    for label, value in found.items():
        if not callable(getattr(value, "state_dict", None)) or not callable(getattr(value, "load_state_dict", None)):
            raise UsageError(f"{argument(_argument_of(label))}: {_why_not(label, value)}")
    return {label: bare(value) for label, value in found.items()}


def _argument_of(label: str) -> str:
    return "loader" if label == "sampler" else label.rpartition(":")[2]


def _why_not(label: str, value: object) -> str:
    what = f"a {type(value).__name__} has no state_dict and load_state_dict"
    if label == "sampler":
        return f"{what}: the order of its data cannot be had again; give a training.KeyedLoader"
    if callable(getattr(value, "save_pretrained", None)):
        return f"{what}; what prepares inputs is given as {argument('processing_class')}"
    return f"{what}; give an object that has both"


def bare(value: Any) -> Any:
    """Return the module inside of torch's wrappers.

    Names are those of the module then.
    """
    while type(value).__name__ in _WRAPPERS:
        value = getattr(value, _WRAPPERS[type(value).__name__])
    return value


def states_of(objects: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of each object by its label.

    Tensors are those of the objects, or shares of their flat parameters.
    """
    return {label: state_of(label, objects) for label in objects}


def state_of(label: str, objects: Mapping[str, Any]) -> Any:
    """Return the state of one of a training's objects.

    That of FSDP1 has named tensors: its own would be gathered at every rank, and its optimizer's be of flat parameters,
    of which each rank has another piece under the same number.
    """
    import torch

    value = objects[label]
    model = value if isinstance(value, torch.nn.Module) else trained_by(objects, label)
    if model is None or not has_fsdp1(model):
        return value.state_dict()
    return model_state(model) if value is model else optimizer_state(model, value)


def classes_of(objects: Mapping[str, Any]) -> dict[str, str]:
    """Return the name of each object's class by its label."""
    return {label: type(value).__name__ for label, value in objects.items()}


def gradients_of(module: "torch.nn.Module") -> "dict[str, torch.Tensor]":
    """Return the gradients that a module's parameters have, by name."""
    return {name: tensor.grad for name, tensor in module.named_parameters() if tensor.grad is not None}


class TrainingParts:
    """The parts of a training, as they are when asked for.

    Args:
        objects: The objects of the training, by label.
        history: The metrics of its steps.
        team: Its ranks.
        provenance: Tells what it runs on.
        options: How the states of modules and optimizers are held; see `Checkpointer`.
    """

    def __init__(
        self,
        objects: Mapping[str, Any],
        history: HasState,
        team: Team,
        provenance: Callable[[], Mapping[str, Any]],
        options: "StateDictOptions | None",
    ) -> None:
        self._objects, self._history, self._team = objects, history, team
        self._provenance, self._options = provenance, options

    @property
    def epoch(self) -> int | None:
        """As the loader counts them; None where it does not."""
        epoch = getattr(self._objects.get("sampler"), "epoch", None)
        return epoch if isinstance(epoch, int) else None

    def of(self, record: Record, format: str) -> Mapping[str, Any]:
        """Return every part by its label, as a format names them.

        Raises:
            UsageError: Gradients are added up, and each rank has its own.
        """
        parts = states_of(self._objects) if self._options is None else optioned_states(self._objects, self._options)
        loader = self._objects.get("sampler")
        if getattr(loader, "accumulated", 0):
            self._team.refuse_gradients()
            parts[GRADIENTS] = gradients_of(self._objects["model"])
        if history := self._history.state_dict():
            parts[HISTORY] = history
        training = {**self._provenance(), "classes": classes_of(self._objects)}
        parts |= {self._team.own_label(): random_states.capture(), "progress": record.as_state(), TRAINING: training}
        return in_format(format, parts, self._objects["model"])
