"""Optimizer states that torch flattened by the names of parameters.

Groups are kept by parameter there, and which are in one group, and in which order, only the optimizer itself says.

Source: torch, `torch/distributed/checkpoint/state_dict.py` (_flatten_optim_state_dict, _unflatten_optim_state_dict):
`state.NAME.exp_avg`, `param_groups.NAME.lr`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ckpt_core.reading.base_model.wrapper_names import match_names
from ckpt_core.schema.state import State
from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    import torch

_STATE, _GROUPS = "state.", "param_groups."


class CannotUnflattenError(ValueError):
    """The names or settings are not those of the optimizer."""


def is_flattened(state: State) -> bool:
    """Return True for a state whose groups are kept by parameter."""
    return isinstance(state, dict) and any(str(key).startswith(_GROUPS) for key in state)


def unflattened(state: Mapping[Any, State], groups: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return the state by names, with groups in a list.

    Args:
        state: As torch flattened it.
        groups: The names of parameters in each group of the optimizer.

    Raises:
        CannotUnflattenError: A parameter is not in it, or those of a group differ in a setting.
    """
    settings, fields = _by_parameter(state, _GROUPS), _by_parameter(state, _STATE)
    wanted = [name for group in groups for name in group]
    pairs = match_names(wanted, list(settings))
    if pairs.missing or pairs.unexpected:
        lacking = (*pairs.missing, *pairs.unexpected)[0]
        whose = "it has nothing for" if pairs.missing else "the optimizer has no parameter"
        raise CannotUnflattenError(f"{whose} {printable(lacking, 80)}")
    made = [_group([settings[pairs.pairs[name]] for name in group], group) for group in groups]
    stored = {name: fields.get(pairs.pairs[name]) for name in wanted}
    return {"state": {name: one for name, one in stored.items() if one is not None}, "param_groups": made}


def names_of(optimizer: "torch.optim.Optimizer", model: "torch.nn.Module") -> list[list[str]]:
    """Return the names of the parameters of each group.

    Raises:
        CannotUnflattenError: A parameter is not of the model.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [[names.get(id(parameter), "") for parameter in group["params"]] for group in optimizer.param_groups]
    if any(not name for group in found for name in group):
        raise CannotUnflattenError("the optimizer has a parameter that is none of the model's")
    return found


def _by_parameter(state: Mapping[Any, State], part: str) -> dict[str, dict[str, State]]:
    found: dict[str, dict[str, State]] = {}
    for key, value in state.items():
        name, _, field = str(key).removeprefix(part).rpartition(".")
        if str(key).startswith(part):
            found.setdefault(name, {})[field] = value
    return found


def _group(settings: Sequence[Mapping[str, State]], names: Iterable[str]) -> dict[str, Any]:
    first = dict(settings[0]) if settings else {}
    for name, one in zip(names, settings, strict=True):
        differing = next((key for key in {**first, **one} if first.get(key) != one.get(key)), None)
        if differing is not None:
            raise CannotUnflattenError(
                f"{printable(differing)} of {printable(name, 80)} is not that of the others in its group"
            )
    return {**first, "params": list(names)}
