"""State out of a checkpoint of any format.

It comes as torch's own objects, or filled into an object that a training has.

All or nothing: everything is read and proved to fit before the object is touched.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ckpt_core.arguments import argument
from ckpt_core.errors import UsageError
from ckpt_core.manager.plugin_manager import CkptPluginManager
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.reading.torch.sharded.groups import has_fsdp1, ranks_of_module, ranks_of_tensors
from ckpt_core.reading.torch.sharded.replicas import AUTO
from ckpt_core.schema.manifests import Component
from ckpt_core.storage.files.moments import one_moment
from ckpt_core.storage.ranks.ranks import Ranks
from ckpt_core.training.filling import HasState, Prepared, prepare_object
from ckpt_core.training.flat_optimizers import prepare_flat_optimizer
from ckpt_core.training.optimizers import prepare_optimizer, torch_structure
from ckpt_core.training.values import torch_state
from ckpt_core.verbs.checked_arguments import checked
from ckpt_core.verbs.load import load
from ckpt_core.verbs.load_into import REPLICAS, LoadReport
from ckpt_core.verbs.load_into import load_into as load_into_module
from ckpt_core.verbs.reference import Reference
from ckpt_core.verbs.together.opening import load_together

if TYPE_CHECKING:
    import torch


@checked()
def state_dict(
    ref: Reference | None = None,
    component: str | None = None,
    *,
    hints: Mapping[str, object] | None = None,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
    manager: CkptPluginManager | None = None,
) -> Any:
    """Return the state of a component as torch saved it.

    Its tensors are on the CPU.

    Args:
        ref: What to read, as for `ckpt_core.load`, or an open checkpoint.
        component: Label of the component; None for the model, or the only one.
        hints: As for `ckpt_core.load`.
        format: As for `ckpt_core.load`.
        options: As for `ckpt_core.load`.
        manager: As for `ckpt_core.load`.

    Returns:
        Of a model, its tensors by name. Of an optimizer, `state` by the numbers of parameters and `param_groups`, also
        where the format keeps them by name. Of anything else, what its own `state_dict()` had given. Every tensor has
        memory of its own, in the type that is stored; arrays are numpy's.

    Raises:
        UnsupportedFormatError: An object in it is of a class that is not known here.
        CkptError: It cannot be found, opened or read; or bytes do not match a checksum.
    """
    checkpoint = load(ref, hints=hints, format=format, options=options, manager=manager)
    with one_moment(checkpoint):
        part = checkpoint.component(component)
        return torch_state(checkpoint, part, torch_structure(part) if part.kind == "optimizer" else None)


@checked(replicas=REPLICAS)
def load_into(
    target: "torch.nn.Module | torch.optim.Optimizer | HasState",
    ref: Reference | None = None,
    *,
    component: str | None = None,
    model: "torch.nn.Module | None" = None,
    hints: Mapping[str, object] | None = None,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
    replicas: str = AUTO,
    manager: CkptPluginManager | None = None,
) -> LoadReport:
    """Fill an object of a training from a checkpoint.

    A module, an optimizer, a schedule or a scaler; or leave it as it is.

    What is spread over ranks is filled by a call on each of them: each reads its own part, of a module as of the
    moments of an optimizer, and what one fails with, all raise.

    Args:
        target: What is filled: it has `state_dict` and `load_state_dict`.
        ref: As for `ckpt_core.load`, or an open checkpoint.
        component: Label of the component; None for the one that such an object goes by: the model, `optimizer`,
            `scheduler`, `scaler`.
        model: The module that an optimizer trains, where that is a FullyShardedDataParallel, whose flat parameters do
            not say by themselves what they are of, or where the stored state is flattened by the names of parameters
            (`flatten_optimizer_state_dict`), or where it is a DistributedDataParallel whose ranks are to read together.
        hints: As for `ckpt_core.load`.
        format: As for `ckpt_core.load`.
        options: As for `ckpt_core.load`.
        replicas: As for `ckpt_core.load_into`: `auto`, `read` or `broadcast`.
        manager: As for `ckpt_core.load`.

    Returns:
        What was filled. Of an optimizer names are `0.exp_avg`: the number of a parameter, and the key of its state;
        `missing` are the numbers of parameters without any, `cast` what torch makes of a state whose type is not that
        of its parameter.

    Raises:
        LoadRefusedError: It is not the state of such an object; the object is as it was.
        LoadInterruptedError: The object took a part of it and is not as it was: it must not be used.
        CkptError: It cannot be found, opened or read; the object is as it was.
    """
    import torch

    ranks = _ranks_of(target, model)
    checkpoint = load_together(
        ranks,
        ref,
        purpose=f"{component} into {type(target).__name__}, {replicas}",
        hints=hints,
        format=format,
        options=options,
        manager=manager,
    )
    if isinstance(target, torch.nn.Module):
        return load_into_module(target, checkpoint, component=component, atomic=True, replicas=replicas)
    with one_moment(checkpoint, failures_only=ranks.world > 1):
        part = ranks.together(lambda: checkpoint.component(component or _label_of(target)))
        prepared = prepare(target, checkpoint, part, model, replicas)
        ranks.together(checkpoint.check_unchanged)
        prepared.fill()
    return prepared.report


def _ranks_of(target: Any, model: "torch.nn.Module | None") -> Ranks:
    """Return the ranks that an object is spread over."""
    import torch

    if isinstance(target, torch.nn.Module) or model is not None:
        return ranks_of_module(target if model is None else model)
    groups = target.param_groups if isinstance(target, torch.optim.Optimizer) else ()
    return ranks_of_tensors(tensor for group in groups for tensor in group["params"])


def prepare(
    target: Any,
    checkpoint: StoredCheckpoint,
    part: Component,
    model: "torch.nn.Module | None" = None,
    replicas: str = AUTO,
) -> Prepared:
    """Return the filling of any object that is no module.

    Such as an optimizer; raises as `load_into`.
    """
    if model is not None and is_torch_optimizer(target) and has_fsdp1(model):
        return prepare_flat_optimizer(target, model, checkpoint, part, replicas)
    if is_torch_optimizer(target):
        return prepare_optimizer(target, checkpoint, part, model, replicas)
    return prepare_object(target, checkpoint, part)


def is_torch_optimizer(target: object) -> bool:
    """Return whether an object takes its state as torch's own optimizers do."""
    import torch

    own = torch.optim.Optimizer.load_state_dict
    return isinstance(target, torch.optim.Optimizer) and type(target).load_state_dict is own


def _label_of(target: object) -> str:
    import torch

    kinds = {
        "optimizer": torch.optim.Optimizer,
        "scheduler": torch.optim.lr_scheduler.LRScheduler,
        "scaler": torch.amp.GradScaler,
    }
    for label, kind in kinds.items():
        if isinstance(target, kind):
            return label
    raise UsageError(f"{type(target).__name__}: nothing goes without saying for it; give {argument('component')}")
