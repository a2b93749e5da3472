"""A component as the objects that torch saved.

Dicts, lists, numbers, and tensors in memory of their own.
"""

from collections.abc import Callable, Collection, Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from ckpt_core.errors import UnsupportedFormatError
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.reading.torch.sharded.replicas import AUTO
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.state import Array, Opaque, State, TensorRef, tensor_names
from ckpt_core.schema.text import printable
from ckpt_core.storage.ranks.ranks import ALONE, Ranks

if TYPE_CHECKING:
    import torch

    from ckpt_core.reading.torch.sharded.fill_shares import Reading


def torch_state(
    checkpoint: StoredCheckpoint,
    part: Component,
    state: State = None,
    *,
    like: "Mapping[str, torch.Tensor] | None" = None,
    ranks: Ranks = ALONE,
    replicas: str = AUTO,
    told: "Callable[[Reading], object] | None" = None,
) -> Any:
    """Return the plain state of a component with its tensors in it.

    Where it has no plain state, they are its tensors by name.

    Args:
        checkpoint: What is read.
        part: A component of it.
        state: A part of its plain state, or another arrangement of it; None for all.
        like: DTensors by the names of stored tensors that are to be spread over ranks as they are.
        ranks: The ranks that read it together, each what it has of those.
        replicas: How ranks that have the same come to it: `auto`, `read` or `broadcast`.
        told: Told what this rank has read.

    Raises:
        UnsupportedFormatError: It holds an object of a class that is not known here.
        CkptError: It cannot be read, or bytes do not match a checksum.
    """
    names = None if state is None else set(tensor_names(state))
    state = part.state if state is None else state
    _refuse_objects(state, part.label)
    tensors = read_tensors(checkpoint, part, names, like=like, ranks=ranks, replicas=replicas, told=told)
    return tensors if state is None else _filled(state, tensors)


def read_tensors(
    checkpoint: StoredCheckpoint,
    part: Component,
    wanted: Collection[str] | None = None,
    *,
    like: "Mapping[str, torch.Tensor] | None" = None,
    ranks: Ranks = ALONE,
    replicas: str = AUTO,
    told: "Callable[[Reading], object] | None" = None,
) -> "dict[str, torch.Tensor]":
    """Return the wanted tensors of a component, or all, on the CPU.

    Names that are tied share one tensor, read once.

    Those in `like` are DTensors, of which each of the ranks reads its own part.
    """
    from ckpt_core.reading.torch.memory import torch_dtype
    from ckpt_core.reading.torch.new_memory import empty_tensors
    from ckpt_core.reading.torch.sharded.fill_shares import ShareFill, fill_shares
    from ckpt_core.reading.torch.sharded.parts import LocalPart, like_part, local_parts, local_shape

    infos = dict(part.tensors.infos())
    first = {name: info.alias_of if info.alias_of in infos else name for name, info in infos.items()}
    names = [name for name in infos if wanted is None or name in wanted]
    read = list(dict.fromkeys(str(first[name]) for name in names))
    placed = {name: None if like is None else like.get(name) for name in read}
    kinds = [
        (infos[name].shape if spread is None else local_shape(spread), torch_dtype(infos[name].dtype))
        for name, spread in placed.items()
    ]
    made: dict[str, torch.Tensor] = {}
    fills = []
    for (name, spread), memory in zip(placed.items(), empty_tensors(kinds), strict=True):
        made[name] = memory if spread is None else like_part(spread, memory)
        boxes = [None] if spread is None else [known.box for known in local_parts(name, spread)]
        fills += [ShareFill(made[name], LocalPart(memory, box), part.label, name) for box in boxes]
    reading = fill_shares(checkpoint, fills, ranks, done=lambda name: None, replicas=replicas)
    if told is not None:
        told(reading)
    return {name: made[str(first[name])] for name in names}


def _refuse_objects(state: State, path: str) -> None:
    if isinstance(state, Opaque):
        raise UnsupportedFormatError(
            f"{printable(path)}: is an object of class {printable(state.class_name)}, which is never imported; "
            "load it with what wrote it"
        )
    if isinstance(state, dict | list | tuple):
        for key, item in state.items() if isinstance(state, dict) else enumerate(state):
            _refuse_objects(item, f"{path}.{key}")


def _filled(state: State, tensors: "dict[str, torch.Tensor]") -> Any:
    match state:
        case TensorRef():
            return tensors[state.name]
        case Array():
            return _array(state)
        case dict():
            return {key: _filled(item, tensors) for key, item in state.items()}
        case list():
            return [_filled(item, tensors) for item in state]
        case tuple():
            return tuple(_filled(item, tensors) for item in state)
    return state


def _array(array: Array) -> Any:
    import numpy as np

    from ckpt_core.reading.values import numpy_name

    name = numpy_name(array.dtype)
    if name is None:
        raise UnsupportedFormatError(f"{array.dtype.code}: numpy has no such type; read the tensor with .read")
    return np.frombuffer(array.data, name, count=prod(array.shape)).reshape(array.shape).copy()
