"""The inert records that a pickle is built of here.

They hold what the file says, and nothing in them runs.
"""

from collections.abc import Iterable
from typing import Any, ClassVar, NamedTuple

from ckpt_core.schema.dtypes import DType

_SCALARS = frozenset([str, int, float, bool, bytes, type(None)])
# Python's hash of an integer is the integer modulo 2**61 - 1: larger ones can be made to collide without end.
_LARGEST_KEY = 1 << 60
_LONGEST_TUPLE_KEY = 64
_MOST_TUPLE_KEYS = 10_000


class StorageRecord(NamedTuple):
    """A storage that a tensor views.

    It has `numel` elements of `dtype` under `key`; `view` is (offset, elements) within it.
    """

    key: str
    dtype: DType | None
    type_name: str
    numel: int
    itemsize: int
    view: tuple[int, int] | None = None


class TensorRecord(NamedTuple):
    """A strided tensor.

    Offset and strides are in elements of `dtype`.
    """

    storage: StorageRecord
    dtype: DType
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class StorageType:
    """A class of torch's typed storages, named as an argument.

    `itemsize` is in bytes.
    """

    __slots__ = ("dtype", "itemsize", "name")

    def __init__(self, name: str, dtype: DType | None, itemsize: int) -> None:
        self.name = name
        self.dtype = dtype
        self.itemsize = itemsize

    def __setstate__(self, state: Any) -> None:
        raise TypeError("a state set on a class of storages")


class Recorded:
    """An object of a class that is never imported.

    It holds the arguments, the state, and what was put into it. There is one subclass for each class a file names.
    """

    __slots__ = ("args", "items", "kwargs", "pairs", "state")

    class_name: ClassVar[str] = "object"
    tensor_like: ClassVar[bool] = False
    """Whether it stands for a tensor that is not a plain strided one."""

    budget: ClassVar["Budget | None"] = None

    args: tuple[Any, ...]
    kwargs: dict[Any, Any] | None
    state: Any
    items: list[Any] | tuple[Any, ...]
    pairs: list[tuple[Any, Any]] | tuple[()]

    def __new__(cls, *args: Any, **kwargs: Any) -> "Recorded":
        self = object.__new__(cls)
        if cls.budget is not None:
            cls.budget.copy(8 * len(args) + 64 * len(kwargs))
        self.args = args
        self.kwargs = kwargs or None
        self.state = None
        self.items = self.pairs = ()
        return self

    def __setstate__(self, state: Any) -> None:
        self.state = state if self.state is None else (self.state, state)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.pairs = self.pairs or []
        self.pairs.append((key, value))

    def append(self, item: Any) -> None:
        self.extend((item,))

    def extend(self, items: Iterable[Any]) -> None:
        if not isinstance(self.items, list):
            self.items = list(self.items)
        self.items.extend(items)

    add = append


def recorded_class(class_name: str, budget: "Budget | None" = None, *, tensor_like: bool = False) -> type[Recorded]:
    """Return the class that records objects of a named class."""
    content = {"__slots__": (), "class_name": class_name, "budget": budget, "tensor_like": tensor_like}
    return type("Recorded", (Recorded,), content)


SetRecord = recorded_class("builtins.set")
FrozenSetRecord = recorded_class("builtins.frozenset")


class Budget:
    """A limit on tuple keys and copied bytes of a pickle.

    Bytes count of values that may be copied more than once.
    """

    __slots__ = ("copied", "tuple_keys")

    def __init__(self, copied: int) -> None:
        self.copied = copied
        self.tuple_keys = _MOST_TUPLE_KEYS

    def copy(self, length: int) -> None:
        """Account for `length` copied bytes.

        MemoryError where one value is copied over and over to fill the memory.
        """
        self.copied -= length
        if self.copied < 0:
            raise MemoryError("it copies the same values over and over")


class TensorKey:
    """A tensor as the key of a dict.

    The same tensor is equal, not an equal one, as torch compares them.
    """

    __slots__ = ("tensor",)

    def __init__(self, tensor: TensorRecord) -> None:
        self.tensor = tensor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TensorKey) and other.tensor is self.tensor

    def __hash__(self) -> int:
        return id(self.tensor)


class SafeDict(dict[Any, Any]):
    """A dict that checks a key before it hashes it.

    Hashing nested tuples takes as long as a file wants.
    """

    __slots__ = ("budget",)

    def __init__(self, budget: Budget) -> None:
        self.budget = budget

    def __setitem__(self, key: Any, value: Any) -> None:
        kind = type(key)
        if kind is not str:
            if kind is tuple:
                self._check_tuple(key)
            elif kind is int:
                check_integer(key)
            elif kind is TensorRecord:
                key = TensorKey(key)
            elif kind not in _SCALARS and not _is_record(key):
                raise TypeError(f"a {kind.__name__} as the key of a dict")
        dict.__setitem__(self, key, value)

    def __setstate__(self, state: Any) -> None:
        raise TypeError("attributes set on a dict")

    def _check_tuple(self, key: tuple[Any, ...]) -> None:
        self.budget.tuple_keys -= 1
        if self.budget.tuple_keys < 0 or len(key) > _LONGEST_TUPLE_KEY:
            raise TypeError("too many or too long tuples as the keys of dicts")
        for item in key:
            if type(item) not in _SCALARS:
                raise TypeError("a nested tuple as the key of a dict")
            if type(item) is int:
                check_integer(item)


class AttributedDict(SafeDict):
    """An OrderedDict, on which torch sets `_metadata`."""

    __slots__ = ("attributes",)

    attributes: Any

    def __setstate__(self, state: Any) -> None:
        self.attributes = state


def check_integer(value: int) -> None:
    """Raise TypeError for an integer that is too large.

    Many of its like would share one hash.
    """
    if not -_LARGEST_KEY < value < _LARGEST_KEY:
        raise TypeError("an integer of more than 60 bits as the key of a dict")


def _is_record(value: Any) -> bool:
    return isinstance(value, Recorded) or (isinstance(value, type) and issubclass(value, Recorded))
