"""Turns the records of a pickle into plain state.

The tensors in it are gathered under their dotted names.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ckpt_core import knobs
from ckpt_core.arguments import argument
from ckpt_core.codecs.pickle.numpy_types import ArrayRecord, OpaqueArray
from ckpt_core.codecs.pickle.odd_tensors import Odd, odd_tensor, wrapper
from ckpt_core.codecs.pickle.records import (
    AttributedDict,
    FrozenSetRecord,
    Recorded,
    SafeDict,
    SetRecord,
    StorageRecord,
    StorageType,
    TensorKey,
    TensorRecord,
)
from ckpt_core.codecs.pickle.sharded_tensors import NotPlacedError, ShardedRecord, Sharding, sharded_record
from ckpt_core.codecs.pickle.torch_types import TorchDtype, WithAttributes
from ckpt_core.codecs.pickle.verdicts.called_values import Callee
from ckpt_core.codecs.pickle.verdicts.extraction import Dangerous, reachable
from ckpt_core.codecs.pickle.verdicts.policy import Judged
from ckpt_core.codecs.pickle.whole_modules import Module, stateful
from ckpt_core.errors import BudgetError, CkptError, CorruptError
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.state import Array, Opaque, State, TensorRef, tensor_names
from ckpt_core.schema.text import printable

# Recursive readers of a state (its JSON form is one) take a few Python frames a level, of the 1000 there are.
_DEEPEST = 200
# Shared values are walked once for each place they stand in. Real files share little; a nested bomb shares without end.
# A stream of n bytes has fewer than n values, and at most as many as opcodes are allowed.
_LEAST_VISITS = 1 << 20
_BYTES_PER_VISIT = 32
# A piece takes as much memory as some values, and a few bytes of a file can ask for a thousand of them.
_VISITS_PER_PIECE = 16
_MOST_SHOWN = 8
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
        attributes: What was set on dicts (torch's `_metadata`) and tensors, and what a pickled module, optimizer or
            schedule has besides its state dict, by dotted name; "" is the root.
        findings: What could not be kept as it was.
    """

    root: State = None
    tensors: dict[str, TensorRecord | ShardedRecord] = field(default_factory=dict)
    attributes: dict[str, State] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def sharded(self) -> dict[str, Sharding]:
        """The sharding of each sharded tensor, by dotted name."""
        return {name: record.sharding for name, record in self.tensors.items() if isinstance(record, ShardedRecord)}


def state_of(value: Any, *, path: str, stream_bytes: int, judged: Judged | None = None) -> Tree:
    """Turn the value of a pickle into plain state.

    Names are the keys and indexes on the way from the root, joined by dots; the state of an object adds no part of its
    own, and a pickled module, optimizer or schedule is its state dict. Where two tensors would have one name, the later
    one gets `#2`, `#3`, ….

    Args:
        value: The value, in records.
        path: The file, for messages.
        stream_bytes: Size of the pickle, which bounds how much the walk may visit.
        judged: The verdicts of its names, which a function that is named as a value is judged with; None for new ones.

    Raises:
        CorruptError: PK001, a value that contains itself.
        BudgetError: PK002, values shared so often that the whole is too large.
    """
    visits = max(_LEAST_VISITS, min(stream_bytes, knobs.header_limit() // _BYTES_PER_VISIT))
    walk = _Walk(path, visits, judged or Judged(path))
    try:
        walk.tree.root = walk.value(value, "", 0)
        walk.finish()
    except RecursionError:  # an object takes several frames a level, and the caller may stand deep already
        raise walk.refused("", _DEEPEST + 1) from None
    return walk.tree


class _Walk:
    def __init__(self, path: str, visits: int, judged: Judged) -> None:
        self.path = path
        self.judged = judged
        self.visits = visits
        self.tree = Tree()
        self._repeats: dict[str, int] = {}
        self._odd: dict[str, list[str]] = {}
        self._within_odd = 0
        self._objects: dict[tuple[str, str, str], list[str]] = {}
        self._aside: list[tuple[str, Callable[[int], State]]] = []
        self._seen: set[int] = set()
        self._finishing = False
        self._open: set[int] = set()
        self._behind = reachable(judged.made)
        # A call that was given one view of a storage could have written through it to every other.
        self._storages_behind = {record.key for record in self._behind.values() if type(record) is StorageRecord}
        self._dropped: list[str] = []
        self._by_type: dict[type, Callable[[Any, str, int], State]] = {
            TensorRecord: self._tensor,
            SafeDict: self._dict,
            dict: self._dict,
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
        if self._is_behind(value, kind):
            self._dropped.append(name or "all")
            return Opaque(getattr(value, "class_name", "builtins.object"))
        handler = self._by_type.get(kind)
        if handler is not None:
            return handler(value, name, depth)
        return self._other(value, name, depth)

    def _is_behind(self, value: Any, kind: type) -> bool:
        """Return True if a dangerous call can have changed this.

        It was given this, gave it, or could have written to its storage.
        """
        if id(value) in self._behind or (kind is type and issubclass(value, Dangerous)):
            return True
        if not self._storages_behind or kind not in (TensorRecord, StorageRecord):
            return False
        return (value.storage if kind is TensorRecord else value).key in self._storages_behind

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
        if isinstance(value, Callee):
            self.judged.name(value.full_name)
            return Opaque(value.full_name)
        return Opaque(getattr(value, "__qualname__", type(value).__name__))  # a constructor of ours, named as a value

    def _dict(self, value: dict[Any, Any], name: str, depth: int) -> State:
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

    def _pairs(self, value: dict[Any, Any], name: str, depth: int) -> State:
        """Return a dict with objects as keys as its pairs.

        Plain state cannot have such a dict.
        """
        pairs = [(key.tensor if type(key) is TensorKey else key, item) for key, item in value.items()]
        return Opaque("builtins.dict", (self._list(pairs, name, depth),))

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
        """Return a storage as the tensor of all its elements.

        This is for a storage that stands for itself; its name is that of its class.
        """
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
            if tensor.class_name.endswith("._rebuild_wrapper_subclass"):
                return self._odd_tensor(wrapper(class_name, tensor, value.state), value, class_name, name, depth)
        kept = self.value(tensor, name, depth + 1)
        if not self._finishing:
            said = bool(self._within_odd) or isinstance(kept, Opaque)
            self._aside.append((name, lambda depth: self._attributes(value, name, depth, said=said)))
        return kept

    def _attributes(self, value: WithAttributes, name: str, depth: int, *, said: bool) -> State:
        attributes = self.value(value.state, _under(name, "attributes"), depth)
        if said:  # that it is no plain tensor
            return attributes
        class_name = printable(value.args[1])
        message = f"a {class_name}, read as a plain tensor; its class and attributes are set aside"
        inner = [inner.removeprefix(_under(name, "attributes.")) for inner in tensor_names(attributes)]
        if inner:
            message = f"{message}, tensors among them: {_some(inner)}"
        severity = Severity.WARNING if inner else Severity.INFO
        self.tree.findings.append(Finding("TF005", severity, message, self.path, name or "tensor"))
        return attributes

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
            return self._odd_tensor(odd_tensor(value), value, value.class_name, name, depth)
        if self._finishing:
            if id(value) in self._seen:
                return Opaque(value.class_name)
            self._seen.add(id(value))
            return self._opaque(value, name, depth)
        kept = self._state_dict(value, name, depth)
        return self._opaque(value, name, depth) if kept is None else kept

    def _opaque(self, value: Recorded, name: str, depth: int, tensor: str = "") -> Opaque:
        if id(value) in self._open:  # children of a configuration name the one that they are in
            return Opaque(value.class_name)
        self._open.add(id(value))
        args = (*value.args, value.kwargs) if value.kwargs else value.args
        kept = self._tuple(args, name, depth) if args else ()
        content = self._content(value, name, depth)
        self._open.remove(id(value))
        return Opaque(value.class_name, kept, content, tensor)

    def _odd_tensor(self, odd: Odd, value: Recorded, class_name: str, name: str, depth: int) -> Opaque:
        """Return a tensor that is not plain, kept opaque.

        The tensors that it is made of are below its name.
        """
        if not self._within_odd and not self._finishing:
            self._odd.setdefault(odd.what, []).append(name or "tensor")
        self._within_odd += 1
        try:
            if not odd.facts and not odd.parts:
                return self._opaque(value, name, depth, odd.what)
            facts = self.value(dict(odd.facts), name, depth + 1)
            parts = self.value(dict(odd.parts), name, depth + 1)
            return Opaque(class_name, (facts,), parts or None, odd.what)
        finally:
            self._within_odd -= 1

    def _state_dict(self, value: Recorded, name: str, depth: int) -> State:
        """Return the state dict of a pickled module or optimizer.

        A schedule has one, too; the result is None for any other object.
        """
        stateful_object = stateful(value)
        if stateful_object is None:
            return None
        kept: dict[Any, State] = {}
        if isinstance(stateful_object, Module):
            self._flatten(stateful_object, name, "", depth, kept)
        else:
            kept.update(self._dict(dict(stateful_object.state), name, depth))  # type: ignore[arg-type]  # keys of a state dict
        rest = ", ".join(printable(str(key), 40) for key in list(stateful_object.rest)[:_MOST_SHOWN])
        self._objects.setdefault((stateful_object.what, value.class_name, rest), []).append(name)
        self._aside.append((name, lambda depth: self._rest(value, _under(name, "attributes"), depth)))
        return kept

    def _flatten(self, module: Module, name: str, prefix: str, depth: int, flat: dict[Any, State]) -> None:
        """Collect the tensors of a module under state-dict names.

        The modules below it are walked too.
        """
        self.visits -= 1
        if depth > _DEEPEST or self.visits < 0:
            raise self.refused(_under(name, prefix), depth)
        for key, tensor in module.tensors.items():
            flat[prefix + key] = self.value(tensor, _under(name, prefix + key), depth + 1)
        for key, child in module.modules.items():
            inner = stateful(child)
            if isinstance(inner, Module):
                self._flatten(inner, name, f"{prefix}{key}.", depth + 1, flat)
            else:
                flat[prefix + key] = self.value(child, _under(name, prefix + key), depth + 1)

    def finish(self) -> None:
        """Walk the values that were set aside, after all others.

        Their tensors must not be the first of a storage.
        """
        self._finishing = True
        for name, make in self._aside:
            self.tree.attributes[name] = make(1)
        if self._dropped:
            message = f"{_some(self._dropped, 20)}: left out, behind a dangerous call"
            self.tree.findings.append(Finding("PK008", Severity.WARNING, message, self.path))
        self.tree.findings.extend(self._odd_findings())
        self.tree.findings.extend(self._object_findings())

    def _rest(self, value: Recorded, name: str, depth: int) -> State:
        """Return what a state dict leaves out of an object.

        What it leaves out of the objects below is added; the class stands alone where the rest was said before.
        """
        stateful_object = stateful(value)
        if id(value) in self._seen or stateful_object is None:
            return self._object(value, name, depth)
        self._seen.add(id(value))
        content: dict[Any, State] = {}
        content.update(self._dict(dict(stateful_object.rest), name, depth + 1))  # type: ignore[arg-type]  # keys of attributes
        modules = stateful_object.modules.items() if isinstance(stateful_object, Module) else ()
        inner = {key: self._rest(child, f"{name}.{key}", depth + 1) for key, child in modules if stateful(child)}
        if inner:
            content["_modules"] = inner
        return Opaque(value.class_name, self._tuple(value.args, name, depth + 1), content)

    def _odd_findings(self) -> Iterator[Finding]:
        for what, names in self._odd.items():
            message = f"{_some(names)}: {what}; kept opaque, what it is made of is listed below its name"
            hint = (
                f"leave it out with {argument('exclude', ['NAME'])}, "
                f"or make it a plain tensor with torch and save it again"
            )
            yield Finding("TF004", Severity.WARNING, message, self.path, names[0], hint)

    def _object_findings(self) -> Iterator[Finding]:
        for (what, class_name, rest), names in self._objects.items():
            shown = _some([name or "the object" for name in names])
            left = f"{rest}, and its code" if rest else "its code"
            message = f"{shown}: a pickled {what} ({printable(class_name)}), read as its state dict; left out: {left}"
            yield Finding("TF011", Severity.INFO, message, self.path)

    def _content(self, value: Recorded, name: str, depth: int) -> State:
        """Return the state, items and pairs of an object.

        Several of them become a dict by these names.
        """
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


def _some(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(printable(name, 80) for name in names[:most]) + more


def _under(name: str, part: str) -> str:
    return f"{name}.{part}" if name else part


def _key_text(key: Any) -> str:
    return key.decode("utf-8", "backslashreplace") if type(key) is bytes else str(key)
