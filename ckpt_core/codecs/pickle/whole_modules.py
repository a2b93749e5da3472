"""Reads whole pickled modules, optimizers and schedulers as state dicts.

What a file has of such an object is the `__dict__` that a class would be filled with. No class is looked at: the keys
of the dict say what it is. What its state dict leaves out is the rest, which is kept apart from it.

Sources: torch, `torch/nn/modules/module.py` (_save_to_state_dict, state_dict, register_buffer),
`torch/optim/optimizer.py` (__getstate__, state_dict), `torch/optim/lr_scheduler.py` (state_dict).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ckpt_core.codecs.pickle.records import Recorded, SafeDict, SetRecord, TensorKey, TensorRecord

_PASSING = "_non_persistent_buffers_set"
_MODULE_KEYS = ("_parameters", "_buffers", "_modules")
_OPTIMIZER_KEYS = {"defaults", "state", "param_groups"}
SCRIPTED = "__torch__."
"""How the names begin that TorchScript gives to the types of one program."""
_SCHEDULERS = "torch.optim.lr_scheduler."


class Module(NamedTuple):
    """A pickled module: its tensors, submodules and the rest.

    `tensors` are parameters and persistent buffers, those that are None aside; `rest` is what else was set on it.
    """

    tensors: Mapping[str, Any]
    modules: Mapping[str, Any]
    rest: Mapping[str, Any]
    what: str = "module"


class Stateful(NamedTuple):
    """A pickled optimizer or schedule.

    `state` is its state dict, `rest` what else was set on it.
    """

    state: Mapping[str, Any]
    rest: Mapping[str, Any]
    what: str


def stateful(value: Any) -> Module | Stateful | None:
    """Return a pickled object that has a state dict.

    None for any other value.
    """
    fields = _fields(value)
    if fields is None:
        return None
    if value.class_name.startswith(SCRIPTED):
        return _scripted(fields)
    if all(isinstance(fields.get(key), SafeDict) for key in _MODULE_KEYS):
        return _module(fields)
    if fields.keys() >= _OPTIMIZER_KEYS:
        return _optimizer(fields)
    if value.class_name.startswith(_SCHEDULERS) and "optimizer" in fields:
        state = {key: item for key, item in fields.items() if key != "optimizer"}
        return Stateful(state, {"optimizer": fields["optimizer"]}, "schedule")
    return None


def _module(fields: Mapping[Any, Any]) -> Module | None:
    parameters, buffers, modules = (fields[key] for key in _MODULE_KEYS)
    if not all(_has_names(part) for part in (parameters, buffers, modules)) or parameters.keys() & buffers.keys():
        return None
    passing = _names(fields.get(_PASSING))
    kept = {name: tensor for name, tensor in buffers.items() if name not in passing}
    said = {*_MODULE_KEYS, _PASSING}
    rest = {key: item for key, item in fields.items() if key not in said and not _says_nothing(key, item)}
    unkept = {name: tensor for name, tensor in buffers.items() if name in passing and tensor is not None}
    if unkept:
        rest["_buffers"] = unkept
    tensors = {name: tensor for name, tensor in {**parameters, **kept}.items() if tensor is not None}
    return Module(tensors, {name: module for name, module in modules.items() if module is not None}, rest)


def _scripted(fields: Mapping[Any, Any]) -> Module | None:
    """Return a module of TorchScript.

    Its attributes are its tensors and its submodules.
    """
    if not all(type(key) is str and key and "." not in key for key in fields):
        return None
    tensors = {name: item for name, item in fields.items() if _is_tensor(item)}
    modules = {name: item for name, item in fields.items() if _is_scripted(item)}
    rest = {name: item for name, item in fields.items() if name not in tensors and name not in modules}
    return Module(tensors, modules, rest, "module of TorchScript")


def _is_tensor(value: Any) -> bool:
    return type(value) is TensorRecord or (isinstance(value, Recorded) and value.tensor_like)


def _is_scripted(value: Any) -> bool:
    return isinstance(value, Recorded) and value.class_name.startswith(SCRIPTED) and isinstance(value.state, SafeDict)


def _optimizer(fields: Mapping[Any, Any]) -> Stateful | None:
    """Return an optimizer with parameters replaced by numbers.

    Its state is by the number of a parameter, its groups list such numbers; the parameters themselves are left out.
    """
    state, groups = fields["state"], fields["param_groups"]
    if not isinstance(state, SafeDict) or type(groups) is not list or not all(map(_is_group, groups)):
        return None
    numbers: dict[int, int] = {}
    for group in groups:
        for parameter in group["params"]:
            numbers.setdefault(id(parameter), len(numbers))
    keyed = {_number(key, numbers): item for key, item in state.items()}
    if None in keyed or len(keyed) != len(state):
        return None
    rest = {key: item for key, item in fields.items() if key not in ("state", "param_groups")}
    rest["params"] = [group["params"] for group in groups]
    packed = [_packed(group, numbers) for group in groups]
    return Stateful({"state": keyed, "param_groups": packed}, rest, "optimizer")


def _fields(value: Any) -> Mapping[Any, Any] | None:
    """Return the attributes of a recorded object.

    Its state is a dict, or a pair of a dict and its slots; None for any other.
    """
    if not isinstance(value, Recorded) or value.items or value.pairs:
        return None
    state = value.state
    if type(state) is tuple and len(state) == 2 and isinstance(state[0], SafeDict):
        return {**state[0], **(state[1] if isinstance(state[1], SafeDict) else {})}
    return state if isinstance(state, SafeDict) else None


def _has_names(part: SafeDict) -> bool:
    """Return True if every key is a valid name.

    Torch refuses a name with a dot, and an empty one: with them two tensors could have one name.
    """
    return all(type(key) is str and key and "." not in key for key in part)


def _names(value: Any) -> frozenset[str]:
    return frozenset(item for item in _members(value) if type(item) is str)


def _members(value: Any) -> Sequence[Any]:
    """Return the members of a recorded set.

    Protocols below 4 make it by calling `set` with a list.
    """
    if isinstance(value, SetRecord):
        return value.items
    called = isinstance(value, Recorded) and value.class_name == SetRecord.class_name and len(value.args) == 1
    return value.args[0] if called and type(value.args[0]) is list else ()


def _says_nothing(key: Any, item: Any) -> bool:
    """Return True for an empty table that every module has."""
    empty = item is None or (isinstance(item, SafeDict | list | tuple) and not item)
    return empty and type(key) is str and key.startswith("_")


def _is_group(group: Any) -> bool:
    return isinstance(group, SafeDict) and type(group.get("params")) is list


def _number(key: Any, numbers: Mapping[int, int]) -> Any:
    """Return the number that a parameter's state is under.

    None where it is unknown; any other key is itself.
    """
    if isinstance(key, TensorKey):
        return numbers.get(id(key.tensor))
    return numbers.get(id(key)) if isinstance(key, Recorded) else key


def _packed(group: SafeDict, numbers: Mapping[int, int]) -> dict[Any, Any]:
    packed = {key: item for key, item in group.items() if key != "params"}
    return {**packed, "params": [numbers[id(parameter)] for parameter in group["params"]]}
