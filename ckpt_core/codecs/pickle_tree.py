"""Turns the records of a pickle into plain state, and gathers the tensors in it under their dotted names."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ckpt_core import knobs
from ckpt_core.codecs.numpy_values import ArrayRecord, OpaqueArray
from ckpt_core.codecs.pickle_policy import refusal
from ckpt_core.codecs.pickle_records import (
    AttributedDict,
    FrozenSetRecord,
    Recorded,
    SafeDict,
    SetRecord,
    StorageRecord,
    StorageType,
    TensorRecord,
)
from ckpt_core.codecs.python_values import ClassInClass
from ckpt_core.codecs.torch_factories import TorchDtype, WithAttributes
from ckpt_core.codecs.torch_sharded import NotPlacedError, ShardedRecord, Sharding, sharded_record
from ckpt_core.errors import BudgetError, CkptError, CorruptError
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.state import Array, Opaque, State, TensorRef
from ckpt_core.schema.text import printable

# Recursive readers of a state (its JSON form is one) take a few Python frames a level, of the 1000 there are.
_DEEPEST = 200
# Shared values are walked once for each place they stand in. Real files share little; a nested bomb shares without end.
# A stream of n bytes has fewer than n values, and at most as many as opcodes are allowed.
_LEAST_VISITS = 1 << 20
_BYTES_PER_VISIT = 32
# A piece takes as much memory as some values, and a few bytes of a file can ask for a thousand of them.
_VISITS_PER_PIECE = 16
# Names of tensors are joined of keys; one key may be as long as the file.
_LONGEST_NAME = 4096

_NUMBERS = frozenset([int, float, bool, type(None)])
_LEAVES = _NUMBERS | {str, bytes}


@dataclass(slots=True)
class Tree:
    """A value as plain state.

    Attributes:
        root: The state; its tensor leaves name rows of `tensors`.
        tensors: The tensors by dotted name, in file order; of those that are spread over ranks this rank's part.
        attributes: What was set on dicts (torch's `_metadata`), by the dotted name of the dict; "" is the root.
        findings: What could not be kept as it was.
    """

    root: State = None
    tensors: dict[str, TensorRecord | ShardedRecord] = field(default_factory=dict)
    attributes: dict[str, State] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def sharded(self) -> dict[str, Sharding]:
        """How the tensors that are spread over ranks are spread, by dotted name."""
        return {name: found.sharding for name, found in self.tensors.items() if isinstance(found, ShardedRecord)}


def settle(value: Any, *, path: str, stream_bytes: int) -> Tree:
    """Make state of what a pickle was built of.

    Names are the keys and indexes on the way from the root, joined by dots; the state of an object adds no part of its
    own. Where two tensors would have one name, the later one gets `#2`, `#3`, ….

    Args:
        value: The value, in records.
        path: The file, for messages.
        stream_bytes: Size of the pickle, which bounds how much the walk may visit.

    Raises:
        CorruptError: PK001, a value that contains itself.
        BudgetError: PK002, values shared so often that the whole is too large.
    """
    visits = max(_LEAST_VISITS, min(stream_bytes, knobs.header_limit() // _BYTES_PER_VISIT))
    walk = _Walk(path, visits)
    try:
        walk.tree.root = walk.value(value, "", 0)
    except RecursionError:  # an object takes several frames a level, and the caller may stand deep already
        raise walk.refused("", _DEEPEST + 1) from None
    return walk.tree


class _Walk:
    def __init__(self, path: str, visits: int) -> None:
        self.path = path
        self.visits = visits
        self.tree = Tree()
        self._repeats: dict[str, int] = {}
        self._by_type: dict[type, Callable[[Any, str, int], State]] = {
            TensorRecord: self._tensor,
            SafeDict: self._dict,
            AttributedDict: self._attributed_dict,
            list: self._list,
            tuple: self._tuple,
            bytearray: lambda value, name, depth: bytes(value),
            StorageRecord: self._storage,
            StorageType: lambda value, name, depth: Opaque(value.name),
            TorchDtype: lambda value, name, depth: Opaque(f"torch.{value.args[0]}"),
            WithAttributes: self._with_attributes,
            ArrayRecord: self._array,
            OpaqueArray: self._opaque_array,
            Array: lambda value, name, depth: value,
            SetRecord: self._set,
            FrozenSetRecord: self._set,
        }

    def value(self, value: Any, name: str, depth: int) -> State:
        kind = type(value)
        self.visits -= 1
        if kind in _LEAVES:
            if kind is str or kind is bytes:
                self.visits -= len(value) >> 6
            return value  # type: ignore[no-any-return]  # a leaf is State
        if depth > _DEEPEST or self.visits < 0 or len(name) > _LONGEST_NAME:
            raise self.refused(name, depth)
        handler = self._by_type.get(kind)
        if handler is not None:
            return handler(value, name, depth)
        return self._other(value, name, depth)

    def refused(self, name: str, depth: int) -> CkptError:
        where = f"{printable(self.path)}: {printable(name, 80)!r}"
        if depth > _DEEPEST:
            reason = f"nested deeper than {_DEEPEST} levels, or in itself"
        elif len(name) > _LONGEST_NAME:
            reason = f"a name of more than {_LONGEST_NAME} characters"
        else:
            reason = "values shared so often that together they are too large"
            return BudgetError(f"{where}: {reason}; get the file again", code="PK002", path=self.path)
        return CorruptError(f"{where}: {reason}; get the file again", code="PK001", path=self.path)

    def _other(self, value: Any, name: str, depth: int) -> State:
        if isinstance(value, Recorded):
            return self._object(value, name, depth)
        if isinstance(value, type) and issubclass(value, Recorded):
            return Opaque(value.class_name)
        if isinstance(value, ClassInClass):
            raise refusal(self.path, "builtins.getattr")
        return Opaque(getattr(value, "__qualname__", type(value).__name__))  # a constructor of ours, named as a value

    def _dict(self, value: SafeDict, name: str, depth: int) -> State:
        prefix = f"{name}." if name else ""
        result: dict[Any, State] = {}
        for key, item in value.items():
            if type(key) is not str and type(key) not in _LEAVES and type(key) is not tuple:
                return self._pairs(value, name, depth)
            text = key if type(key) is str else _key_text(key)
            result[key] = self.value(item, prefix + text, depth + 1)
        return result

    def _attributed_dict(self, value: AttributedDict, name: str, depth: int) -> State:
        if hasattr(value, "attributes"):
            self.tree.attributes[name] = self.value(value.attributes, _under(name, "attributes"), depth + 1)
        return self._dict(value, name, depth)

    def _pairs(self, value: SafeDict, name: str, depth: int) -> State:
        """A dict with objects as keys, which plain state cannot have, as the list of its pairs."""
        return Opaque("builtins.dict", (self._list([(key, item) for key, item in value.items()], name, depth),))

    def _list(self, value: Sequence[Any], name: str, depth: int) -> list[State]:
        prefix = f"{name}." if name else ""
        self.visits -= len(value)
        return [
            item if type(item) in _NUMBERS else self.value(item, f"{prefix}{index}", depth + 1)
            for index, item in enumerate(value)
        ]

    def _tuple(self, value: tuple[Any, ...], name: str, depth: int) -> tuple[State, ...]:
        return tuple(self._list(value, name, depth))

    def _tensor(self, value: TensorRecord | ShardedRecord, name: str, depth: int) -> State:
        unique = name or "tensor"
        while unique in self.tree.tensors:
            self._repeats[name] = self._repeats.get(name, 1) + 1
            unique = f"{name}#{self._repeats[name]}"
        self.tree.tensors[unique] = value
        return TensorRef(unique)

    def _storage(self, value: StorageRecord, name: str, depth: int) -> State:
        """A storage that stands for itself: the tensor of all its elements, under the name of its class."""
        if value.dtype is None:
            return Opaque(value.type_name, (value.key, value.numel))
        numel = value.numel if value.view is None else value.view[1]
        whole = TensorRecord(value, value.dtype, 0, (numel,), (1,))
        return Opaque(value.type_name, (self._tensor(whole, name, depth),))

    def _with_attributes(self, value: WithAttributes, name: str, depth: int) -> State:
        tensor, class_name = value.args
        if isinstance(tensor, Recorded):
            try:
                sharded = sharded_record(class_name, tensor, value.state)
            except NotPlacedError as error:
                message = f"a {printable(class_name)} that cannot be placed: {printable(str(error))}; kept opaque"
                self._note("TF010", Severity.WARNING, message, name)
                return Opaque(class_name)
            if sharded is not None:
                self.visits -= _VISITS_PER_PIECE * len(sharded.pieces)
                return self._tensor(sharded, name, depth)
        kept = self.value(tensor, name, depth + 1)
        attributes = self.value(value.state, _under(name, "attributes"), depth + 1)
        message = f"a {printable(class_name)}, read as a plain tensor; its class and attributes are set aside"
        self._note("TF005", Severity.INFO, message, name)
        self.tree.attributes[name] = attributes
        return kept

    def _array(self, value: ArrayRecord, name: str, depth: int) -> State:
        try:
            array = value.value()
        except (ValueError, LookupError, TypeError) as error:
            raise CorruptError(
                f"{printable(self.path)}: {printable(name)!r}: {printable(str(error))}; get the file again",
                code="PK001",
                path=self.path,
            ) from error
        return self._opaque_array(value, name, depth) if array is None else array

    def _opaque_array(self, value: Recorded, name: str, depth: int) -> State:
        message = "a numpy array that is not plain numbers (text, objects, records): kept opaque"
        self._note("PK005", Severity.WARNING, message, name)
        return self._object(value, name, depth)

    def _set(self, value: Recorded, name: str, depth: int) -> State:
        return Opaque(value.class_name, (self._list(value.items, name, depth),))

    def _object(self, value: Recorded, name: str, depth: int) -> State:
        if value.tensor_like:
            message = f"not a plain strided tensor ({printable(value.class_name)}): kept opaque"
            self._note("TF004", Severity.WARNING, message, name)
        args = (*value.args, value.kwargs) if value.kwargs else value.args
        kept = self._tuple(args, name, depth) if args else ()
        return Opaque(value.class_name, kept, self._content(value, name, depth))

    def _content(self, value: Recorded, name: str, depth: int) -> State:
        """State, items and pairs of an object; where there are several, a dict of them by these names."""
        content: dict[str, State] = {}
        if value.state is not None:
            content["state"] = self.value(value.state, name, depth + 1)
        if value.items:
            content["items"] = self._list(value.items, name, depth)
        if value.pairs:
            content["pairs"] = self._recorded_pairs(value.pairs, name, depth)
        if len(content) > 1:
            return content
        return next(iter(content.values()), None)

    def _recorded_pairs(self, pairs: list[tuple[Any, Any]], name: str, depth: int) -> State:
        if all(type(key) in _LEAVES for key, _ in pairs):
            return {key: self.value(item, _under(name, _key_text(key)), depth + 1) for key, item in pairs}
        return self._list(pairs, name, depth)

    def _note(self, code: str, severity: Severity, message: str, name: str) -> None:
        self.tree.findings.append(Finding(code, severity, message, self.path, name or "tensor"))


def _under(name: str, part: str) -> str:
    return f"{name}.{part}" if name else part


def _key_text(key: Any) -> str:
    return key.decode("utf-8", "backslashreplace") if type(key) is bytes else str(key)
