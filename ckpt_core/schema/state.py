"""Plain state: the data of a component besides tensors.

It has one JSON form.

Scalars, strings, bytes, lists, tuples and dicts stand for themselves. Three leaves stand for the rest: `TensorRef`
points into the component's tensor table, `Array` is a small array kept as data (an RNG state, a metric), and `Opaque`
is a value whose class we do not know: named, never imported.
"""

from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.text import printable

_DEEPEST = 100
"""Levels of a tree that are compared key by key; what is below is compared whole."""


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A tensor's place in a state tree.

    `name` is its name in the component's table.
    """

    name: str


@dataclass(frozen=True, slots=True)
class Array:
    """A small array as plain data: row-major, little-endian bytes."""

    dtype: DType
    shape: tuple[int, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Opaque:
    """A value of a class that is not known here.

    Attributes:
        class_name: Its full dotted name, as the file gives it.
        args: What its constructor would be called with.
        state: What would be set on it afterwards; None where there is nothing.
        tensor: Where it stands for a tensor that is not plain, what it is in words: `sparse COO`. Its state has the
            plain tensors that it is made of.
    """

    class_name: str
    args: tuple["State", ...] = ()
    state: "State" = None
    tensor: str = ""


State = (
    None | bool | int | float | str | bytes | list[Any] | tuple[Any, ...] | dict[Any, Any] | TensorRef | Array | Opaque
)


def to_json(state: State) -> Any:
    """Return the state as JSON values.

    What JSON lacks is tagged: `{"$tuple": […]}`, `{"$bytes": "base64"}`, ….

    A dict becomes a JSON object when its keys are strings without a leading `$`, else `{"$dict": [[key, value]…]}`.
    """
    match state:
        case None | bool() | str() | int():
            return state
        case float():
            return state if isfinite(state) else {"$float": repr(state)}
        case bytes():
            return {"$bytes": b2a_base64(state, newline=False).decode()}
        case list():
            return [to_json(item) for item in state]
        case tuple():
            return {"$tuple": [to_json(item) for item in state]}
        case dict():
            if all(isinstance(key, str) and not key.startswith("$") for key in state):
                return {key: to_json(value) for key, value in state.items()}
            return {"$dict": [[to_json(key), to_json(value)] for key, value in state.items()]}
        case TensorRef():
            return {"$tensor": state.name}
        case Array():
            return {"$array": [state.dtype.code, list(state.shape), b2a_base64(state.data, newline=False).decode()]}
        case Opaque():
            content = [state.class_name, to_json(list(state.args)), to_json(state.state)]
            return {"$opaque": [*content, state.tensor] if state.tensor else content}


def from_json(value: Any) -> State:
    """Return the state that `to_json` made a value of."""
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if not isinstance(value, dict):
        return value  # type: ignore[no-any-return]  # JSON scalars are State
    if len(value) == 1:
        (tag, content), *_ = value.items()
        if tag.startswith("$"):
            return _untagged(tag, content)
    return {key: from_json(item) for key, item in value.items()}


def _untagged(tag: str, content: Any) -> State:
    match tag:
        case "$float":
            return float(content)
        case "$bytes":
            return a2b_base64(content)
        case "$tuple":
            return tuple(from_json(item) for item in content)
        case "$dict":
            return {from_json(key): from_json(item) for key, item in content}
        case "$tensor":
            return TensorRef(content)
        case "$array":
            code, shape, data = content
            return Array(DType[code], tuple(shape), a2b_base64(data))
        case "$opaque":
            name, args, state, *tensor = content
            return Opaque(name, tuple(from_json(item) for item in args), from_json(state), *tensor)
    raise ValueError(f"{tag}: not a tag of a state's JSON form")


_ABSENT = Opaque("absent")


def differing_paths(first: State, second: State, path: str = "", depth: int = 0) -> list[str]:
    """Return the dotted paths at which two trees differ.

    Tensors are taken for equal, and so are trees of nothing but tensors that one of the two lacks: both are compared
    elsewhere, by name.
    """
    if isinstance(first, TensorRef) and isinstance(second, TensorRef):
        return []
    if (first is _ABSENT and _only_tensors(second)) or (second is _ABSENT and _only_tensors(first)):
        return []
    if depth < _DEEPEST and isinstance(first, dict) and isinstance(second, dict):
        keys = [*first, *(key for key in second if key not in first)]
        pairs = [
            (f"{path}.{printable(str(key), 60)}", first.get(key, _ABSENT), second.get(key, _ABSENT)) for key in keys
        ]
    elif depth < _DEEPEST and isinstance(first, list | tuple) and isinstance(second, list | tuple):
        if len(first) != len(second):
            return [path]
        pairs = [(f"{path}.{index}", a, b) for index, (a, b) in enumerate(zip(first, second, strict=True))]
    else:
        return [] if _equal(first, second) else [path]
    return [inner for where, a, b in pairs for inner in differing_paths(a, b, where, depth + 1)]


def _only_tensors(state: State) -> bool:
    if isinstance(state, dict | list | tuple):
        return bool(state) and all(map(_only_tensors, state.values() if isinstance(state, dict) else state))
    return isinstance(state, TensorRef)


def _equal(first: State, second: State) -> bool:
    if isinstance(first, float) and isinstance(second, float) and first != first and second != second:
        return True
    return type(first) is type(second) and first == second


def arrays_of(state: State, path: str = "") -> Iterator[tuple[str, Array]]:
    """Yield every array of a tree with its dotted path.

    A format that keeps it as a tensor uses that path as its name.
    """
    if isinstance(state, Array):
        yield path, state
    elif isinstance(state, dict | list | tuple):
        for key, item in state.items() if isinstance(state, dict) else enumerate(state):
            yield from arrays_of(item, f"{path}.{key}" if path else str(key))


def tensor_names(state: State) -> Iterator[str]:
    """Yield the names of the tensors in a tree, in order.

    One that the tree points to twice comes twice.
    """
    pending = [state]
    while pending:
        item = pending.pop()
        if isinstance(item, TensorRef):
            yield item.name
        elif isinstance(item, dict):
            pending.extend(reversed(list(item.values())))
        elif isinstance(item, list | tuple):
            pending.extend(reversed(item))
        elif isinstance(item, Opaque):
            pending.extend((item.state, *reversed(item.args)))


def with_names(state: State, names: Mapping[str, str]) -> State:
    """Return the tree with its tensors under other names.

    KeyError where `names` lacks one.
    """
    return mapped(state, lambda leaf: TensorRef(names[leaf.name]) if isinstance(leaf, TensorRef) else leaf)


def mapped(
    state: State, change: Callable[[State], State], *, keep: Callable[[State], bool] = lambda value: True
) -> State:
    """Return the tree with each leaf changed.

    The leaves of an Opaque are changed too. `keep` says which values of dicts stay.
    """
    match state:
        case dict():
            return {key: mapped(value, change, keep=keep) for key, value in state.items() if keep(value)}
        case list():
            return [mapped(item, change, keep=keep) for item in state]
        case tuple():
            return tuple(mapped(item, change, keep=keep) for item in state)
        case Opaque():
            args = tuple(mapped(item, change, keep=keep) for item in state.args)
            return Opaque(state.class_name, args, mapped(state.state, change, keep=keep), state.tensor)
    return change(state)


def without_arrays(state: State) -> State:
    """Return the state with each array replaced by a tensor.

    A format that keeps arrays as tensors gives back such a state.
    """
    match state:
        case Array():
            return TensorRef("")
        case dict():
            return {key: without_arrays(value) for key, value in state.items()}
        case list():
            return [without_arrays(item) for item in state]
        case tuple():
            return tuple(without_arrays(item) for item in state)
    return state
