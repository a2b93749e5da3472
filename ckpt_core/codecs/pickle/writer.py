"""Writes plain state and tensors as a pickle for torch.

`torch.load(weights_only=True)` accepts it.

Protocol 2, as torch.save writes. The names it uses are the few that torch's own reader allows: `OrderedDict`,
`torch._utils._rebuild_tensor_v2`, the storage classes.
"""

from collections.abc import Callable
from struct import pack
from typing import NamedTuple

from ckpt_core.arguments import argument
from ckpt_core.errors import UnsupportedFormatError
from ckpt_core.schema.state import Array, Opaque, State, TensorRef
from ckpt_core.schema.text import printable


class StorageView(NamedTuple):
    """A tensor as the pickle describes it.

    It has the storage's class, the record's key, the number of elements in it, and the view. `storage_class` is
    torch's; where it is empty the storage is of untyped bytes, and `dtype` names the element type.
    """

    storage_class: str
    dtype: str
    key: str
    numel: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def write_pickle(root: State, *, tensor: Callable[[TensorRef], StorageView]) -> bytes:
    """Return the pickle of a state tree.

    Args:
        root: The tree.
        tensor: Says where each tensor of it is stored.

    Raises:
        UnsupportedFormatError: The tree holds a value of a class that is not known here.
    """
    writer = _Writer(tensor)
    writer.value(root)
    return b"\x80\x02" + b"".join(writer.parts) + b"."


class _Writer:
    def __init__(self, tensor: Callable[[TensorRef], StorageView]) -> None:
        self.parts: list[bytes] = []
        self._tensor = tensor

    def value(self, value: State) -> None:
        put = self.parts.append
        match value:
            case None:
                put(b"N")
            case bool():
                put(b"\x88" if value else b"\x89")
            case int():
                put(_integer(value))
            case float():
                put(b"G" + pack(">d", value))
            case str():
                put(_text(value))
            case bytes():
                self._bytes(value)
            case list():
                self._sequence(b"](", value, b"e")
            case tuple():
                self._sequence(b"(", value, b"t")
            case dict():
                put(b"}(")
                for key, item in value.items():
                    self.value(key)
                    self.value(item)
                put(b"u")
            case TensorRef():
                self._tensor_value(self._tensor(value))
            case Array():
                raise ValueError("arrays are turned into tensors before they are written")
            case Opaque():
                raise UnsupportedFormatError(
                    f"state of class {printable(value.class_name)} cannot be written: its class is not known here; "
                    f"leave its component out with {argument('components')}"
                )

    def _sequence(self, begin: bytes, items: list[State] | tuple[State, ...], end: bytes) -> None:
        self.parts.append(begin)
        for item in items:
            self.value(item)
        self.parts.append(end)

    def _bytes(self, value: bytes) -> None:
        """Write bytes in the form that protocol 2 knows.

        It is text of one character a byte, encoded when it is read.
        """
        self.parts.append(b"c_codecs\nencode\n" + _text(value.decode("latin1")) + _text("latin1") + b"\x86R")

    def _tensor_value(self, tensor: StorageView) -> None:
        put = self.parts.append
        version = 2 if tensor.storage_class else 3
        storage = f"torch\n{tensor.storage_class}" if tensor.storage_class else "torch.storage\nUntypedStorage"
        put(f"ctorch._utils\n_rebuild_tensor_v{version}\n((".encode())
        put(_text("storage") + f"c{storage}\n".encode())
        put(_text(tensor.key) + _text("cpu") + _integer(tensor.numel) + b"tQ")
        put(_integer(0))
        for sizes in (tensor.shape, tensor.strides):
            self._sequence(b"(", sizes, b"t")
        put(b"\x89ccollections\nOrderedDict\n)R")
        if tensor.dtype:
            put(f"ctorch\n{tensor.dtype}\n".encode())
        put(b"tR")


def _integer(value: int) -> bytes:
    if 0 <= value < 1 << 8:
        return b"K" + bytes([value])
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + pack("<i", value)
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw if len(raw) < 256 else b"\x8b" + pack("<I", len(raw)) + raw


def _text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + pack("<I", len(raw)) + raw
