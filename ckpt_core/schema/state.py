"""The plain data of a component: what it holds besides tensors, and its one JSON form.

Scalars, strings, bytes, lists, tuples and dicts stand for themselves. Three leaves stand for the rest: `TensorRef`
points into the component's tensor table, `Array` is a small array kept as data (an RNG state, a metric), and `Opaque`
is a value whose class we do not know: named, never imported.
"""

from base64 import b64decode, b64encode
from dataclasses import dataclass
from math import isfinite
from typing import Any

from ckpt_core.schema.dtypes import DType


@dataclass(frozen=True, slots=True)
class TensorRef:
    """The place of a tensor in a state tree; `name` is its name in the component's table."""

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
    """

    class_name: str
    args: tuple["State", ...] = ()
    state: "State" = None


State = (
    None | bool | int | float | str | bytes | list[Any] | tuple[Any, ...] | dict[Any, Any] | TensorRef | Array | Opaque
)


def to_json(state: State) -> Any:
    """The state as JSON values; what JSON lacks is tagged: `{"$tuple": […]}`, `{"$bytes": "base64"}`, ….

    A dict becomes a JSON object when its keys are strings without a leading `$`, else `{"$dict": [[key, value]…]}`.
    """
    match state:
        case None | bool() | str() | int():
            return state
        case float():
            return state if isfinite(state) else {"$float": repr(state)}
        case bytes():
            return {"$bytes": b64encode(state).decode()}
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
            return {"$array": [state.dtype.code, list(state.shape), b64encode(state.data).decode()]}
        case Opaque():
            return {"$opaque": [state.class_name, to_json(list(state.args)), to_json(state.state)]}


def from_json(value: Any) -> State:
    """The state that `to_json` made `value` of."""
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
            return b64decode(content)
        case "$tuple":
            return tuple(from_json(item) for item in content)
        case "$dict":
            return {from_json(key): from_json(item) for key, item in content}
        case "$tensor":
            return TensorRef(content)
        case "$array":
            code, shape, data = content
            return Array(DType[code], tuple(shape), b64decode(data))
        case "$opaque":
            name, args, state = content
            return Opaque(name, tuple(from_json(item) for item in args), from_json(state))
    raise ValueError(f"{tag}: not a tag of a state's JSON form")
