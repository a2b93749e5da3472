"""Parts of a rank file's state as components of their own: references renamed, objects of DeepSpeed as plain dicts."""

from collections.abc import Iterator, Mapping

from ckpt_core import Component, Opaque, State, TensorRef, TensorTable

_PLAIN = "deepspeed.runtime.fp16.loss_scaler."
"""Classes whose attributes are all there is to them."""


def component_of(kind: str, table: TensorTable, state: State, *, under: str = "", name: str = "") -> Component:
    """A component of a part of a state tree, with the tensors that it refers to.

    Args:
        kind: Its kind.
        table: The tensors of the whole tree.
        state: The part.
        under: The key in the tree that it is the value of, which is taken off the tensors' names.
        name: Its name, where there are several of the kind.
    """
    plain = without_objects(state)
    renamed = {old: old.removeprefix(f"{under}.") for old in references(plain)}
    return Component(kind, table.renamed(renamed), _renamed(plain, renamed), name)


def without_objects(value: State) -> State:
    """A state whose loss scalers are dicts of their attributes and of their class."""
    if isinstance(value, Opaque):
        if value.class_name.startswith(_PLAIN) and not value.args and isinstance(value.state, dict):
            return {"class": value.class_name.rpartition(".")[2], **value.state}
        return value
    if isinstance(value, dict):
        return {key: without_objects(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_objects(item) for item in value]
    if isinstance(value, tuple):
        return tuple(without_objects(item) for item in value)
    return value


def references(value: State) -> Iterator[str]:
    """Names of the tensors of a state, in its order."""
    if isinstance(value, TensorRef):
        yield value.name
    elif isinstance(value, dict):
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from references(item)
    elif isinstance(value, Opaque):
        yield from references(value.args)
        yield from references(value.state)


def _renamed(value: State, names: Mapping[str, str]) -> State:
    match value:
        case TensorRef():
            return TensorRef(names[value.name])
        case dict():
            return {key: _renamed(item, names) for key, item in value.items()}
        case list():
            return [_renamed(item, names) for item in value]
        case tuple():
            return tuple(_renamed(item, names) for item in value)
        case Opaque():
            args = tuple(_renamed(item, names) for item in value.args)
            return Opaque(value.class_name, args, _renamed(value.state, names))
    return value
