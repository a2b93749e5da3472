"""Makes components of parts of a rank file's state.

References are renamed, objects of DeepSpeed become plain dicts.
"""

from ckpt_core import Component, Opaque, State, TensorTable, tensor_names, with_names

_PLAIN = "deepspeed.runtime.fp16.loss_scaler."
"""Classes whose attributes are all there is to them."""


def component_of(kind: str, table: TensorTable, state: State, *, under: str = "", name: str = "") -> Component:
    """Return a component of a part of a tree.

    It has the tensors that the part refers to.

    Args:
        kind: Its kind.
        table: The tensors of the whole tree.
        state: The part.
        under: The key in the tree that it is the value of, which is taken off the tensors' names.
        name: Its name, where there are several of the kind.
    """
    plain = without_objects(state)
    renamed = {old: old.removeprefix(f"{under}.") for old in tensor_names(plain)}
    return Component(kind, table.renamed(renamed), with_names(plain, renamed), name)


def without_objects(value: State) -> State:
    """Return a state with loss scalers as dicts.

    They have their attributes and their class.
    """
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
