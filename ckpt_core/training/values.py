"""A component as the objects that torch saved: dicts, lists, numbers, and tensors in memory of their own."""

from math import prod
from typing import TYPE_CHECKING, Any

from ckpt_core.errors import UnsupportedFormatError
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.state import Array, Opaque, State, TensorRef
from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    import torch


def torch_values(checkpoint: StoredCheckpoint, part: Component, state: State = None) -> Any:
    """Return the plain state of a component with its tensors in it; without plain state, its tensors by name.

    Args:
        checkpoint: What is read.
        part: A component of it.
        state: A part of its plain state, or another arrangement of it; None for all.

    Raises:
        UnsupportedFormatError: It holds an object of a class that is not known here.
        CkptError: It cannot be read, or bytes do not match a checksum.
    """
    state = part.state if state is None else state
    _refuse_objects(state, part.label)
    tensors = read_tensors(checkpoint, part)
    return tensors if state is None else _filled(state, tensors)


def read_tensors(checkpoint: StoredCheckpoint, part: Component) -> "dict[str, torch.Tensor]":
    """Return every tensor of a component on the CPU, read once; names that are tied share one tensor."""
    from ckpt_core.reading.torch.fill import Fill, fill_tensors
    from ckpt_core.reading.torch.memory import empty_tensor, torch_dtype

    infos = dict(part.tensors.infos())
    first = {name: info.alias_of if info.alias_of in infos else name for name, info in infos.items()}
    made = {
        name: empty_tensor(info.shape, torch_dtype(info.dtype)) for name, info in infos.items() if first[name] == name
    }
    fills = [Fill(tensor, part.label, name) for name, tensor in made.items()]
    fill_tensors(checkpoint, fills, done=lambda name: None)
    return {name: made[str(first[name])] for name in infos}


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
