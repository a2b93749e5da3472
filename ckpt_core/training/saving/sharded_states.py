"""States of sharded objects, by FSDP's state-dict options.

They are torch's own: sharded or gathered, left on the devices or moved to the CPU.

Source: torch, `torch/distributed/checkpoint/state_dict.py` (StateDictOptions).
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from ckpt_core.arguments import argument
from ckpt_core.errors import UsageError
from ckpt_core.reading.torch.sharded.groups import has_fsdp1

if TYPE_CHECKING:
    import torch
    from torch.distributed.checkpoint.state_dict import StateDictOptions

_HELD = ("full_state_dict", "cpu_offload", "flatten_optimizer_state_dict")
"""Options that say how a state is held; the others say what is left out of it, or how one is loaded."""


def checked_options(options: "StateDictOptions | None") -> "StateDictOptions | None":
    """Return the options, known to leave nothing out.

    Raises:
        UsageError: They are none, or one of them leaves out state or is about loading.
    """
    if options is None:
        return None
    from torch.distributed.checkpoint.state_dict import StateDictOptions

    if not isinstance(options, StateDictOptions):
        what = f"torch's StateDictOptions are needed, not a {type(options).__name__}"
        raise UsageError(f"{argument('state_dict_options')}: {what}")
    usual = StateDictOptions()
    for field in fields(StateDictOptions):
        value = getattr(options, field.name)
        if field.name not in _HELD and value != getattr(usual, field.name):
            raise UsageError(
                f"{argument('state_dict_options')}: {field.name}={value!r} would leave something out or is about "
                f"loading; give no more than {', '.join(_HELD)}"
            )
    return options


def model_state(module: "torch.nn.Module", options: "StateDictOptions | None" = None) -> dict[str, Any]:
    """Return the state of a module by its parameters' own names.

    Every rank of the module calls it.

    Args:
        module: Sharded by FSDP1, FSDP2 or tensor parallelism, copied by DDP, or of this process alone.
        options: `full_state_dict` gathers it: without `cpu_offload` all ranks hold the whole, on their devices; with it
            rank 0 does, in host memory, and the others get nothing. Else each rank holds its share, and with
            `cpu_offload` a copy of it in host memory.

    Raises:
        UsageError: An option leaves something out, or is about loading.
    """
    from torch.distributed.checkpoint.state_dict import get_model_state_dict

    state: dict[str, Any] = get_model_state_dict(module, options=_bearable(options, module))
    return state


def optimizer_state(
    model: "torch.nn.Module", optimizer: "torch.optim.Optimizer", options: "StateDictOptions | None" = None
) -> dict[str, Any]:
    """Return the state of an optimizer by the names of parameters.

    Every rank of the model calls it. Memory as for `model_state`, of the moments.

    Args:
        model: What the optimizer trains.
        optimizer: An optimizer.
        options: `flatten_optimizer_state_dict` keeps groups by parameter too: `param_groups.NAME.lr`.

    Raises:
        UsageError: An option leaves something out, or is about loading.
    """
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    fresh = not optimizer.state
    state: dict[str, Any] = get_optimizer_state_dict(model, optimizer, options=_bearable(options, model))
    for fields_of in state.get("state", {}).values():
        sort_fields(fields_of)
    if not fresh:
        return state
    # Torch has made the moments by a step of its own, which a training must not go on from.
    optimizer.state.clear()
    return {key: {} if key == "state" else value for key, value in state.items() if not key.startswith("state.")}


def sort_fields(state: dict[str, Any]) -> None:
    """Sort the fields of a state alike on every rank.

    Torch leaves those of FSDP1 in the order of a set, and gathers in it.
    """
    ordered = sorted(state.items())
    state.clear()
    state.update(ordered)


def optioned_states(objects: Mapping[str, Any], options: "StateDictOptions") -> dict[str, Any]:
    """Return the state of each object of a training, by its label.

    Modules and optimizers as the options say, anything else as it is.
    """
    return {label: _optioned(label, one, objects, options) for label, one in objects.items()}


def trained_by(objects: Mapping[str, Any], label: str) -> Any:
    """Return the module that an optimizer trains.

    It has its parameters; else it is the one of its name.
    """
    import torch

    one = objects[label]
    if not isinstance(one, torch.optim.Optimizer):
        return None
    trained = {id(tensor) for group in one.param_groups for tensor in group["params"]}
    for other in objects.values():
        if isinstance(other, torch.nn.Module) and not trained.isdisjoint(map(id, other.parameters())):
            return other
    _, colon, name = label.partition(":")
    return objects.get(f"model{colon}{name}", objects.get("model"))


def _optioned(label: str, one: Any, objects: Mapping[str, Any], options: "StateDictOptions") -> Any:
    import torch

    if isinstance(one, torch.nn.Module):
        return model_state(one, options)
    model = trained_by(objects, label)
    return optimizer_state(model, one, options) if isinstance(one, torch.optim.Optimizer) else one.state_dict()


def _bearable(options: "StateDictOptions | None", module: "torch.nn.Module") -> "StateDictOptions | None":
    """Return options that torch survives.

    Torch 2.13 reads freed memory where it gathers FSDP1's parameters that are on the CPU already, and is to move them
    there.
    """
    checked = checked_options(options)
    if checked is None or not (checked.full_state_dict and checked.cpu_offload and has_fsdp1(module)):
        return checked
    on_cpu = all(tensor.device.type == "cpu" for tensor in module.parameters())
    return replace(checked, cpu_offload=False) if on_cpu else checked
