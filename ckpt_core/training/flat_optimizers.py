"""The optimizer of a FullyShardedDataParallel.

Its flat parameters are named, and cut, by torch's state-dict functions.

Source: torch, `torch/distributed/checkpoint/state_dict.py` (get_optimizer_state_dict, set_optimizer_state_dict).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ckpt_core.errors import LoadRefusedError
from ckpt_core.laws.optimizer import state_trees
from ckpt_core.reading.base_model.wrapper_names import match_names
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.reading.torch.sharded.fill_shares import ShareFill, fill_shares
from ckpt_core.reading.torch.sharded.groups import ranks_of_module
from ckpt_core.reading.torch.sharded.parts import FlatShards, local_parts
from ckpt_core.reading.torch.sharded.replicas import AUTO
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.state import TensorRef
from ckpt_core.schema.text import printable
from ckpt_core.training.filling import Prepared
from ckpt_core.training.flattened_optimizers import CannotUnflattenError, is_flattened, unflattened
from ckpt_core.training.saving.sharded_states import sort_fields
from ckpt_core.verbs.load_into import LoadReport

if TYPE_CHECKING:
    import torch


def prepare_flat_optimizer(
    optimizer: "torch.optim.Optimizer",
    model: "torch.nn.Module",
    checkpoint: StoredCheckpoint,
    part: Component,
    replicas: str = AUTO,
) -> Prepared:
    """Return the filling of an optimizer of flat parameters.

    Every rank calls it, and reads its own part of the state. The optimizer stays as it is, also a new one, of which
    torch takes the state by making a step with it.

    Memory: this rank's part of the state twice, for as long as it is read and given to the optimizer.

    Raises:
        LoadRefusedError: It is not the state of such an optimizer; nothing was changed.
        CkptError: It cannot be read; nothing was changed.
    """
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

    ranks = ranks_of_module(model)
    was_empty, before = not optimizer.state, optimizer.state_dict()

    def undo() -> None:
        optimizer.load_state_dict(before)
        if was_empty:
            optimizer.state.clear()

    def fill() -> None:
        if not own["state"]:  # saved before the first step: torch would have none of it
            _begin_anew(optimizer, own["param_groups"])
            return
        set_optimizer_state_dict(model, optimizer, own)
        for fields in optimizer.state.values():
            sort_fields(fields)

    own = get_optimizer_state_dict(model, optimizer)
    if was_empty:
        optimizer.state.clear()
    for fields in own["state"].values():
        sort_fields(fields)
    try:
        where = f"{checkpoint.location}, {part.label}"
        fills = ranks.together(lambda: list(_fills(own, part, where)))
        reading = fill_shares(checkpoint, fills, ranks, done=lambda name: None, replicas=replicas)
    except BaseException:
        undo()
        raise
    report = LoadReport(
        str(checkpoint.location),
        part.label,
        tuple(fill.name for fill in fills),
        coverage=1.0,
        ranks=ranks.world,
        share=reading.nbytes,
        shared=reading.shared,
    )
    return Prepared(report, fill, undo, own["param_groups"])


def _begin_anew(optimizer: "torch.optim.Optimizer", groups: Sequence[Mapping[str, Any]]) -> None:
    """Give an optimizer its settings, and no state."""
    optimizer.state.clear()
    for group, stored in zip(optimizer.param_groups, groups, strict=True):
        group.update({key: value for key, value in stored.items() if key != "params"})


def _fills(own: dict[str, Any], part: Component, where: str) -> Iterator[ShareFill]:
    """Yield the fillings of the tensors of an optimizer's state.

    Its plain values are set on the way.
    """
    trees = list(state_trees(_by_names(own, part.state, where)))
    if len(trees) != 1 or not isinstance(trees[0]["param_groups"], list | tuple):
        raise _refused(where, "it holds no one state of an optimizer of torch's, with its groups in a list")
    stored_groups, state = trees[0]["param_groups"], trees[0]["state"]
    if [len(group["params"]) for group in stored_groups] != [len(group["params"]) for group in own["param_groups"]]:
        raise _refused(where, "its parameter groups are not those of the optimizer")
    names = _stored_names(own, stored_groups, where)
    if not state:
        own["state"] = {}
    for group, stored in zip(own["param_groups"], stored_groups, strict=True):
        group.update({key: value for key, value in stored.items() if key != "params"})
    for name, fields in own["state"].items():
        held = state.get(names[name]) or {}
        for key, value in fields.items():
            if key not in held:
                raise _refused(where, f"it has no {printable(str(key))} of {printable(name)}")
            if isinstance(held[key], TensorRef):
                yield from _fill(value, held[key].name, part, where)
            else:
                fields[key] = held[key]


def _by_names(own: Mapping[str, Any], state: Any, where: str) -> Any:
    if not is_flattened(state):
        return state
    try:
        return unflattened(state, [group["params"] for group in own["param_groups"]])
    except CannotUnflattenError as error:
        raise _refused(where, str(error)) from error


def _stored_names(own: Mapping[str, Any], groups: Any, where: str) -> dict[str, Any]:
    """Return the stored name of each parameter.

    A name, or a number in the order of the groups.
    """
    wanted = [name for group in own["param_groups"] for name in group["params"]]
    stored = [name for group in groups for name in group["params"]]
    if all(type(name) is int for name in stored):
        return dict(zip(wanted, stored, strict=True))
    pairs = match_names(wanted, stored)
    if pairs.missing:
        raise _refused(where, f"it has nothing for {printable(pairs.missing[0])}")
    return pairs.pairs


def _fill(value: Any, name: str, part: Component, where: str) -> Iterator[ShareFill]:
    tensor = FlatShards(value) if hasattr(value, "local_shards") else value
    shape = part.tensors.info(name).shape
    if shape != tuple(tensor.shape):
        raise _refused(where, f"{printable(name)} is {list(shape)}, the optimizer's is {list(tensor.shape)}")
    for local in local_parts(name, tensor):
        yield ShareFill(tensor, local, part.label, name)


def _refused(where: str, reason: str) -> LoadRefusedError:
    return LoadRefusedError(f"{where}: {reason}; nothing was loaded")
