"""Flattens components to torch's flat table of keys.

Torch makes it of nested dicts and lists, and keeps the way to each leaf.

What torch's flattening loses is noted beside it: which dicts have numbers for keys (torch makes texts of them), and
which are empty (torch drops them).

Source: torch, `torch/distributed/checkpoint/_traverse.py` (traverse_state_dict) and `_nested_dict.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ckpt_core import Component, State, TensorRef, UnsupportedFormatError, argument, printable
from ckpt_fsdp.dcp.nesting import Path


@dataclass(slots=True)
class Flat:
    """The leaves of components, by flat key.

    Attributes:
        tensors: The component and name of each leaf that is a tensor.
        values: The component and value of each other leaf.
        paths: The way to each leaf: keys of dicts, as texts, and indexes of lists.
        numbered: Ways to the dicts whose keys are numbers.
        empty: Ways to the dicts that are empty.
    """

    tensors: dict[str, tuple[Component, str]] = field(default_factory=dict)
    values: dict[str, tuple[Component, State]] = field(default_factory=dict)
    paths: dict[str, Path] = field(default_factory=dict)
    numbered: list[Path] = field(default_factory=list)
    empty: list[Path] = field(default_factory=list)


def flatten(components: Sequence[Component], keys: Mapping[str, Path]) -> Flat:
    """Return the leaves of components.

    Args:
        components: Each to stand below its label,
        keys: or below what this has for the label.

    Raises:
        UnsupportedFormatError: Two leaves would have one key, a dict has keys that are no texts or numbers, or plain
            state has no place for a tensor.
    """
    flat = Flat()
    for component in components:
        _add(flat, component, _tree(component), keys.get(component.label, (component.label,)))
    return flat


def _tree(component: Component) -> State:
    if component.state is None:
        return {name: TensorRef(name) for name in component.tensors}
    lost = set(component.tensors) - set(_refs(component.state))
    if lost:
        raise UnsupportedFormatError(
            f"{component.label}: its plain state has no place for tensor {printable(min(lost))}; "
            f"leave the component out with {argument('components')}"
        )
    return component.state


def _add(flat: Flat, component: Component, value: State, path: Path) -> None:
    if isinstance(value, dict):
        if not value:
            flat.empty.append(path)
        elif _numbered(value, path):
            flat.numbered.append(path)
        for key, item in value.items():
            _add(flat, component, item, (*path, str(key)))
    elif isinstance(value, list) and _is_walked(value):
        for index, item in enumerate(value):
            _add(flat, component, item, (*path, index))
    else:
        _leaf(flat, component, value, path)


def _leaf(flat: Flat, component: Component, value: State, path: Path) -> None:
    key = ".".join(map(str, path))
    if not path or key in flat.paths:
        reason = f"two values would be stored as {printable(key)}" if path else "it is no dict"
        raise UnsupportedFormatError(
            f"{component.label}: {reason}; leave the component out with {argument('components')}"
        )
    flat.paths[key] = path
    if isinstance(value, TensorRef):
        flat.tensors[key] = (component, value.name)
    else:
        flat.values[key] = (component, value)


def _numbered(value: dict[object, State], path: Path) -> bool:
    kinds = {type(key) for key in value}
    if kinds == {int}:
        return True
    if kinds != {str}:
        where, shown = printable(".".join(map(str, path))), ", ".join(sorted(kind.__name__ for kind in kinds))
        raise UnsupportedFormatError(
            f"{where}: dcp keeps dicts whose keys are texts, or are whole numbers, and this one has {shown}; "
            f"leave its component out with {argument('components')}"
        )
    return False


def _is_walked(values: list[State]) -> bool:
    """Return True if torch walks into a list.

    One with a dict or a tensor in it, at any depth of lists.
    """
    return any(isinstance(v, dict | TensorRef) or (isinstance(v, list) and _is_walked(v)) for v in values)


def _refs(state: State) -> Iterator[str]:
    pending: list[State] = [state]
    while pending:
        item = pending.pop()
        if isinstance(item, TensorRef):
            yield item.name
        elif isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, list | tuple):
            pending.extend(item)
