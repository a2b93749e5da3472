"""Pickles put together opcode by opcode, so that they can ask for anything; opcodes as in `Lib/pickletools.py`."""

from struct import pack
from typing import Any


class Raw(bytes):
    """Opcodes that push one value."""


def glob(name: str) -> Raw:
    """GLOBAL: `module.sub.attribute`; a colon separates where the attribute is dotted itself."""
    module, _, attribute = name.partition(":") if ":" in name else name.rpartition(".")
    return Raw(b"c" + module.encode() + b"\n" + attribute.encode() + b"\n")


def stack_global(name: str) -> Raw:
    """STACK_GLOBAL, whose names are values."""
    module, _, attribute = name.rpartition(".")
    return Raw(push(module) + push(attribute) + b"\x93")


def push(value: Any) -> bytes:
    """Opcodes that push a plain value; `Raw` ones as they are."""
    match value:
        case Raw():
            return value
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int() if -(1 << 31) <= value < 1 << 31:
            return b"J" + pack("<i", value)
        case int():
            raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(raw)]) + raw
        case float():
            return b"G" + pack(">d", value)
        case str():
            raw = value.encode("utf-8", "surrogatepass")
            return b"X" + pack("<I", len(raw)) + raw
        case bytes():
            return b"B" + pack("<I", len(value)) + value
        case tuple():
            return b"(" + b"".join(map(push, value)) + b"t"
        case list():
            return b"](" + b"".join(map(push, value)) + b"e"
        case dict():
            return b"}(" + b"".join(push(key) + push(item) for key, item in value.items()) + b"u"
    raise TypeError(type(value))


def call(function: bytes, *args: Any) -> Raw:
    """REDUCE."""
    return Raw(function + push(args) + b"R")


def pickled(value: Any, protocol: int = 2) -> bytes:
    """A whole stream."""
    return b"\x80" + bytes([protocol]) + push(value) + b"."


def storage(key: Any = "0", numel: Any = 4, kind: str = "torch.FloatStorage", *, view: Any = ...) -> Raw:
    """A storage, as a persistent id."""
    rest = () if view is ... else (view,)
    return Raw(push(("storage", glob(kind), key, "cpu", numel, *rest)) + b"Q")


def tensor(
    held: bytes | None = None,
    offset: Any = 0,
    shape: Any = (4,),
    strides: Any = (1,),
    *,
    rebuild: str = "_rebuild_tensor_v2",
) -> Raw:
    """A tensor over a storage."""
    hooks = call(glob("collections.OrderedDict"))
    args = (Raw(held if held is not None else storage()), offset, shape, strides, False, hooks)
    return call(glob(f"torch._utils.{rebuild}"), *args)
