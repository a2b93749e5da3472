"""Shows plain state in a few words.

Each entry of a component that has no tensors is shown.
"""

from collections.abc import Mapping
from typing import Any

from ckpt_core.schema.state import Array, Opaque, State, TensorRef
from ckpt_core.schema.text import printable

_FEW = 4
_SHORT = 30


def entries_of(state: State) -> dict[str, Any]:
    """Return the entries by name, as they are or described.

    Numbers, text and short lists stand as they are; of anything larger it says what it is.
    """
    inner = state.state if isinstance(state, Opaque) else state
    if inner is None:
        return {}
    return (
        {str(key): _worded(value) for key, value in inner.items()}
        if isinstance(inner, Mapping)
        else {"": _worded(inner)}
    )


def in_words(state: State) -> str:
    """Return the first entries in one line, and count the rest.

    An example is `last_epoch=6, base_lrs=[5e-05]`.
    """
    shown = [f"{key}={value}" if key else f"{value}" for key, value in entries_of(state).items()]
    more = f", and {len(shown) - _FEW} more" if len(shown) > _FEW else ""
    return ", ".join(printable(text, 2 * _SHORT) for text in shown[:_FEW]) + more or "-"


def _worded(value: State) -> Any:
    match value:
        case int() if value.bit_length() > 64:
            return f"an integer of {value.bit_length()} bits"
        case None | bool() | int() | float():
            return value
        case str():
            return printable(value, 200)
        case list() | tuple():
            items = [_worded(item) for item in value[:_FEW]]
            plain = all(item is None or isinstance(item, bool | int | float | str) for item in value[:_FEW])
            short = len(value) <= _FEW and plain and len(str(items)) <= _SHORT
            return items if short else f"list of {len(value):,}"
        case dict():
            return f"dict of {len(value):,}"
        case bytes():
            return f"{len(value):,} bytes"
        case Opaque():
            return value.class_name
        case Array() | TensorRef():
            return "array"
