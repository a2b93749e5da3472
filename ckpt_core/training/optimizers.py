"""An optimizer's state in torch's own structure.

It is tried on a copy before it is given to the optimizer.

Source of the structure: torch `optim/optimizer.py` (state_dict, load_state_dict): `state` by the number of a parameter,
counted over `param_groups` in their order.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ckpt_core.errors import LoadRefusedError, UnsupportedFormatError
from ckpt_core.laws.optimizer import ELEMENTWISE, state_trees
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.reading.torch.sharded.groups import ranks_of_module, ranks_of_tensors
from ckpt_core.reading.torch.sharded.parts import is_dtensor
from ckpt_core.reading.torch.sharded.replicas import AUTO
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.state import State, TensorRef
from ckpt_core.schema.text import printable
from ckpt_core.training.filling import Prepared
from ckpt_core.training.flattened_optimizers import CannotUnflattenError, is_flattened, names_of, unflattened
from ckpt_core.training.values import torch_state
from ckpt_core.verbs.load_into import LoadReport

if TYPE_CHECKING:
    import torch

    from ckpt_core.reading.torch.sharded.fill_shares import Reading


def torch_structure(part: Component) -> State:
    """Return a component's one optimizer state as torch saves it.

    What holds several, or none, as it is.

    Raises:
        UnsupportedFormatError: Its groups are kept by name, which does not say torch's order.
    """
    trees = list(state_trees(part.state))
    return _by_number(trees[0], part.label) if len(trees) == 1 else part.state


def prepare_optimizer(
    optimizer: "torch.optim.Optimizer",
    checkpoint: StoredCheckpoint,
    part: Component,
    model: "torch.nn.Module | None" = None,
    replicas: str = AUTO,
) -> Prepared:
    """Return the filling of an optimizer, proved to fit.

    It was read, and taken by a copy of the optimizer.

    State of parameters that are spread over ranks is spread as they are: each rank reads its own part of it. A state
    that is flattened by names needs the model, which has them.

    Raises:
        LoadRefusedError: It is not the state of such an optimizer; nothing was changed.
        CkptError: It cannot be read; nothing was changed.
    """
    where = f"{checkpoint.location}, {part.label}"
    own = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    ranks = ranks_of_tensors(own) if model is None else ranks_of_module(model)
    read: list[Reading] = []
    tree = ranks.together(lambda: _fitting(optimizer, part, where, model))
    how: dict[str, Any] = {"ranks": ranks, "replicas": replicas, "told": read.append}
    values = torch_state(checkpoint, part, tree, like=_spread(own, tree), **how)
    tried = ranks.together(lambda: _tried(optimizer, values, where))
    report = _report(checkpoint, part, optimizer, values, tried)
    before = optimizer.state_dict()
    return Prepared(
        replace(report, ranks=ranks.world, share=read[0].nbytes, shared=read[0].shared),
        lambda: optimizer.load_state_dict(tried),
        lambda: optimizer.load_state_dict(before),
        values["param_groups"],
    )


def _fitting(
    optimizer: "torch.optim.Optimizer", part: Component, where: str, model: "torch.nn.Module | None"
) -> dict[Any, Any]:
    """Return the stored state by torch's numbers.

    LoadRefusedError where it is not of such an optimizer.
    """
    flat = model is not None and is_flattened(part.state)
    tree = _named(optimizer, model, part, where) if flat else torch_structure(part)
    if not isinstance(tree, dict) or len(list(state_trees(tree))) != 1 or "param_groups" not in tree:
        raise _refused(where, _what_else(part.state))
    tree = {"state": {}, **tree}
    _compare_groups(optimizer, tree, where)
    _compare_shapes(optimizer, tree, part, where)
    return tree


def _named(optimizer: "torch.optim.Optimizer", model: Any, part: Component, where: str) -> dict[Any, Any]:
    state: Any = part.state
    try:
        return _by_number(unflattened(state, names_of(optimizer, model)), part.label)
    except CannotUnflattenError as error:
        raise _refused(where, str(error)) from error


def _spread(own: "Sequence[torch.Tensor]", tree: Mapping[Any, Any]) -> "dict[str, torch.Tensor]":
    """Return the parameters that are spread over ranks.

    They are given by the names of the stored states to be spread so.
    """
    numbers = [number for group in tree["param_groups"] for number in group["params"]]
    return {
        leaf.name: tensor
        for number, tensor in zip(numbers, own, strict=True)
        if is_dtensor(tensor)
        for key, leaf in _fields(tree["state"].get(number)).items()
        if key in ELEMENTWISE and isinstance(leaf, TensorRef)
    }


def _what_else(state: State) -> str:
    """Return what a component holds instead, and the next step.

    It is not the one state of one optimizer.
    """
    count = len(list(state_trees(state)))
    if count:
        return f"it holds the states of {count} optimizers; take one of them out of training.state_dict"
    if is_flattened(state):
        return _NAMED
    return "it holds no state of an optimizer of torch's"


_NAMED = (
    "it is flattened by the names of parameters (flatten_optimizer_state_dict), which does not say torch's order; "
    "give model=, which does"
)


def _by_number(tree: Mapping[Any, Any], label: str) -> dict[Any, Any]:
    groups = tree["param_groups"]
    if isinstance(groups, Mapping):
        raise UnsupportedFormatError(f"{printable(label)}: {_NAMED}")
    listed = [dict(group) for group in groups]
    params = [key for group in listed for key in group.get("params", ())]
    numbers = {key: number for number, key in enumerate(params)}
    if all(type(key) is int for key in params):
        numbers = {key: key for key in params} | {str(key): key for key in params}
    for group in listed:
        group["params"] = [numbers[key] for key in group.get("params", ())]
    state = tree["state"]
    known = {numbers.get(key, key): item for key, item in state.items()} if isinstance(state, Mapping) else state
    return {**tree, "state": known, "param_groups": listed}


def _compare_groups(optimizer: "torch.optim.Optimizer", tree: Mapping[Any, Any], where: str) -> None:
    stored, own = tree["param_groups"], optimizer.param_groups
    if len(stored) != len(own):
        raise _refused(where, f"it has {len(stored)} parameter groups, the optimizer has {len(own)}")
    for number, (first, second) in enumerate(zip(stored, own, strict=True)):
        counts = len(first["params"]), len(second["params"])
        if counts[0] != counts[1]:
            raise _refused(where, f"group {number} has {counts[0]} parameters, the optimizer's has {counts[1]}")


def _compare_shapes(optimizer: "torch.optim.Optimizer", tree: Mapping[Any, Any], part: Component, where: str) -> None:
    """Compare the shapes of a state with the parameters'.

    Torch takes a state of any shape, and fails in the next step.
    """
    own = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    numbers = [number for group in tree["param_groups"] for number in group["params"]]
    for number, tensor in zip(numbers, own, strict=True):
        for key, leaf in _fields(tree["state"].get(number)).items():
            if key in ELEMENTWISE and isinstance(leaf, TensorRef):
                shape = part.tensors.info(leaf.name).shape
                if shape != tuple(tensor.shape):
                    what = f"{key} of parameter {number} is {list(shape)}, the parameter is {list(tensor.shape)}"
                    raise _refused(where, what)


def _tried(optimizer: "torch.optim.Optimizer", values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the state as a copy of the optimizer has taken it.

    Its tensors are on the devices and in the types of the parameters.
    """
    tried = copy.copy(optimizer)
    try:
        tried.load_state_dict(dict(values))
    except Exception as error:  # torch raises whatever a strange state leads to
        raise _refused(where, f"{type(optimizer).__name__} does not take it ({error})") from error
    for number, (new, own) in enumerate(zip(tried.param_groups, optimizer.param_groups, strict=True)):
        lacking = sorted(own.keys() - new.keys())
        if lacking:
            what = f"group {number} has no {', '.join(lacking)}: it is of another optimizer than"
            raise _refused(where, f"{what} {type(optimizer).__name__}")
    taken: dict[str, Any] = tried.state_dict()
    return taken


def _report(
    checkpoint: StoredCheckpoint,
    part: Component,
    optimizer: "torch.optim.Optimizer",
    values: Mapping[str, Any],
    tried: Mapping[str, Any],
) -> LoadReport:
    stored, taken = dict(_tensors(values["state"])), dict(_tensors(tried["state"]))
    cast = {
        name: (_short(tensor), _short(taken[name]))
        for name, tensor in stored.items()
        if name in taken and taken[name].dtype is not tensor.dtype
    }
    numbers = [number for group in tried["param_groups"] for number in group["params"]]
    without = [str(number) for number in numbers if number not in tried["state"]]
    tainted = {name: cause for name in part.tensors if (cause := checkpoint.cause(part.label, name)) is not None}
    return LoadReport(
        source=str(checkpoint.location),
        component=part.label,
        matched=tuple(taken),
        missing=tuple(without if tried["state"] else ()),
        cast=cast,
        coverage=1.0 - len(without) / len(numbers) if numbers else 1.0,
        tainted=tainted,
    )


def _tensors(state: Mapping[Any, Any]) -> "Iterator[tuple[str, torch.Tensor]]":
    for number, fields in state.items():
        for key, value in _fields(fields).items():
            if hasattr(value, "untyped_storage"):
                yield f"{number}.{key}", value


def _fields(item: Any) -> Mapping[Any, Any]:
    return item if isinstance(item, Mapping) else {}


def _short(tensor: "torch.Tensor") -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _refused(where: str, reason: str) -> LoadRefusedError:
    return LoadRefusedError(f"{where}: {reason}; nothing was loaded")
