"""Plans torch files.

A file is a zip that `torch.load` accepts with `weights_only=True` and with `mmap=True`.

One component without plain state becomes a flat state dict, as `torch.save(model.state_dict())` writes it; otherwise
each component stands under its label. Tied tensors share a storage. Arrays in plain state (RNG states, metrics) become
tensors: torch's safe reader knows no numpy.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

from ckpt_core.arguments import argument
from ckpt_core.codecs.heads.torch import TAINT_RECORD
from ckpt_core.codecs.pickle.writer import StorageView, write_pickle
from ckpt_core.codecs.single_table import refuse_objects
from ckpt_core.codecs.zip.writer import Record, plan_zip
from ckpt_core.errors import UnsupportedFormatError
from ckpt_core.schema.access import Checkpoint
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.plans import FilePlan, LateBytes, Literal, Section, TensorBytes
from ckpt_core.schema.side_files.taint import as_text, carried
from ckpt_core.schema.state import Array, State, TensorRef, tensor_names
from ckpt_core.schema.tensors import TensorInfo, row_major_strides
from ckpt_core.schema.text import printable

_ROOT = "archive"

_STORAGE_CLASS = {
    DType.F64: "DoubleStorage",
    DType.F32: "FloatStorage",
    DType.F16: "HalfStorage",
    DType.BF16: "BFloat16Storage",
    DType.I64: "LongStorage",
    DType.I32: "IntStorage",
    DType.I16: "ShortStorage",
    DType.I8: "CharStorage",
    DType.U8: "ByteStorage",
    DType.BOOL: "BoolStorage",
    DType.C64: "ComplexFloatStorage",
    DType.C128: "ComplexDoubleStorage",
}

_DTYPE_NAME = {
    DType.U16: "uint16",
    DType.U32: "uint32",
    DType.U64: "uint64",
    DType.F8_E4M3: "float8_e4m3fn",
    DType.F8_E5M2: "float8_e5m2",
    DType.F8_E4M3FNUZ: "float8_e4m3fnuz",
    DType.F8_E5M2FNUZ: "float8_e5m2fnuz",
    DType.F8_E8M0: "float8_e8m0fnu",
}
"""Types that torch has no storage class for: kept as untyped bytes, with the name of the type."""


def plan_torch(
    path: str,
    components: Sequence[Component],
    *,
    arrange: Callable[[Mapping[str, State]], State] | None = None,
    of: Checkpoint | None = None,
) -> FilePlan:
    """Plan one file that holds these components.

    Args:
        path: Its name.
        components: What it holds.
        arrange: Makes the saved object of the components' trees by label, where a format has keys of its own; every
            tree must be in it as it is.
        of: The checkpoint that they are of: what of it is tainted becomes a record that torch passes over.

    Raises:
        UnsupportedFormatError: Torch has no such element type, or plain state is of a class that is not known here.
    """
    refuse_objects(components)
    storages = _Storages()
    trees: dict[Any, State] = {component.label: storages.tree_of(component) for component in components}
    # An average that was written flat would be read as the model.
    flat = len(components) == 1 and components[0].state is None and components[0].label == "model"
    root: State = arrange(trees) if arrange is not None else trees[components[0].label] if flat else trees
    tainted = carried(of) if of is not None else {}
    return FilePlan(path, storages.archive(root, tainted=tainted), checksums=True)


def plan_object(value: State, component: Component) -> tuple[Section, ...]:
    """Plan a torch file for a part of plain state.

    It has the part's tensors too.

    Raises:
        UnsupportedFormatError: As for `plan_torch`.
    """
    storages = _Storages()
    sections = storages.archive(storages.tree(value, component))
    known = [s.make({}) if isinstance(s, LateBytes) else s.data for s in sections if isinstance(s, LateBytes | Literal)]
    return (Literal(b"".join(known)),) if len(known) == len(sections) else sections


def stored_tensor(shown: str, dtype: DType, shape: tuple[int, ...], key: str) -> StorageView:
    """Return a row-major tensor as torch's pickle describes it.

    Its elements are the record `key`.

    Raises:
        UnsupportedFormatError: Torch has no such element type; `shown` is the tensor's name.
    """
    numel = prod(shape)
    if dtype in _STORAGE_CLASS:
        return StorageView(_STORAGE_CLASS[dtype], "", key, numel, shape, row_major_strides(shape))
    if dtype in _DTYPE_NAME:
        return StorageView("", _DTYPE_NAME[dtype], key, dtype.nbytes(numel), shape, row_major_strides(shape))
    raise UnsupportedFormatError(f"{shown}: torch has no type {dtype.code}")


class _Storages:
    """The storages of a file, and its tensors.

    `stored` has what the pickle says of each tensor, by a key made of component and name.
    """

    def __init__(self) -> None:
        self.contents: dict[str, Literal | TensorBytes] = {}
        self.stored: dict[str, StorageView] = {}

    def tree_of(self, component: Component) -> State:
        """Return the component as one tree.

        Its tensors have keys that are unique in the file.
        """
        keys = {name: self._add(component, name, info) for name, info in component.tensors.infos()}
        if component.state is None:
            return {name: TensorRef(key) for name, key in keys.items()}
        lost = set(keys) - set(tensor_names(component.state))
        if lost:
            raise UnsupportedFormatError(
                f"{component.label}: its plain state has no place for tensor {printable(min(lost))}; "
                f"leave the component out with {argument('components')}"
            )
        return self._keyed(component.state, keys)

    def tree(self, value: State, component: Component) -> State:
        """Return a part of a component's state.

        Its tensors have keys that are unique in the file.
        """
        keys = {name: self._add(component, name, component.tensors.info(name)) for name in tensor_names(value)}
        return self._keyed(value, keys)

    def archive(self, root: State, *, tainted: Mapping[str, str] | None = None) -> tuple[Section, ...]:
        """Return the sections of a file with this saved object."""
        pickle = write_pickle(root, tensor=lambda ref: self.stored[ref.name])
        records = [
            Record(f"{_ROOT}/data.pkl", Literal(pickle)),
            Record(f"{_ROOT}/byteorder", Literal(b"little")),
            *(Record(f"{_ROOT}/data/{key}", content) for key, content in self.contents.items()),
            Record(f"{_ROOT}/version", Literal(b"3\n")),
        ]
        if tainted:
            records.append(Record(f"{_ROOT}/{TAINT_RECORD}", Literal(as_text(tainted).encode())))
        return plan_zip(records)

    def _add(self, component: Component, name: str, info: TensorInfo) -> str:
        key = f"{component.label}/{name}"
        twin = f"{component.label}/{info.alias_of}" if info.alias_of is not None else ""
        if twin in self.stored:
            self.stored[key] = self.stored[twin]
            return key
        content = TensorBytes(component.label, name, info.nbytes)
        self._store(key, printable(name), info.dtype, info.shape, content)
        return key

    def _store(
        self, key: str, shown: str, dtype: DType, shape: tuple[int, ...], content: Literal | TensorBytes
    ) -> None:
        number = str(len(self.contents))
        self.stored[key] = stored_tensor(shown, dtype, shape, number)
        self.contents[number] = content

    def _keyed(self, state: State, keys: dict[str, str]) -> State:
        match state:
            case TensorRef():
                return TensorRef(keys[state.name])
            case Array():
                key = f"array/{len(self.contents)}"
                self._store(key, "an array", state.dtype, state.shape, Literal(state.data))
                return TensorRef(key)
            case dict():
                return {name: self._keyed(value, keys) for name, value in state.items()}
            case list():
                return [self._keyed(item, keys) for item in state]
            case tuple():
                return tuple(self._keyed(item, keys) for item in state)
        return state
