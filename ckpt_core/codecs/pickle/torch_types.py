"""Stand-ins for torch's constructors when a pickle is read.

They make records, and check every argument.

Sources: torch, `torch/_utils.py` (the `_rebuild_*` functions), `torch/_tensor.py` (_rebuild_from_type_v2) and
`torch/serialization.py` (persistent_load).
"""

from typing import Any

from ckpt_core.codecs.pickle.records import (
    Budget,
    Recorded,
    StorageRecord,
    StorageType,
    TensorRecord,
    recorded_class,
)
from ckpt_core.codecs.torch_dtypes import BY_DTYPE_NAME, BY_STORAGE_NAME, OTHER_DTYPES, PACKED_F4
from ckpt_core.schema.dtypes import DType

# `Tensor.dim()` has no such limit, but nothing that torch computes with exceeds it.
_MOST_DIMENSIONS = 64
_LARGEST = 1 << 63

_NOT_STRIDED = (
    "torch._utils._rebuild_device_tensor_from_numpy",
    "torch._utils._rebuild_meta_tensor_no_storage",
    "torch._utils._rebuild_mkldnn_tensor",
    "torch._utils._rebuild_nested_tensor",
    "torch._utils._rebuild_qtensor",
    "torch._utils._rebuild_sparse_csr_tensor",
    "torch._utils._rebuild_sparse_tensor",
    "torch._utils._rebuild_wrapper_subclass",
    "torch._utils._rebuild_xla_tensor",
    "torch.nested._internal.nested_tensor._rebuild_njt",
    "torch.nn.parameter.UninitializedBuffer",
    "torch.nn.parameter.UninitializedParameter",
)
_ODD_VIEW = recorded_class("torch._utils._rebuild_tensor_v2", tensor_like=True)
_ODD_DTYPE = recorded_class("torch._utils._rebuild_tensor_v3", tensor_like=True)
_SCRIPT_LISTS = ("build_boollist", "build_doublelist", "build_intlist", "build_tensorlist", "restore_type_tag")
_PLAIN_ATTRIBUTES = {"_is_buffer", "persistent"}
"""What `torch.nn.Buffer` sets on a tensor."""
_PLAIN_CLASSES = ("torch.Tensor", "torch._tensor.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer")


class TorchDtype(Recorded):
    """A `torch.dtype` as a value."""

    __slots__ = ()


class WithAttributes(Recorded):
    """A tensor of a subclass, or with Python attributes.

    The tensor is the only argument, the attributes are the state.
    """

    __slots__ = ()


class Size:
    """A stand-in for `torch.Size`: a tuple."""

    def __new__(cls, sizes: Any = ()) -> Any:
        if type(sizes) not in (tuple, list) or len(sizes) > _MOST_DIMENSIONS:
            raise TypeError("torch.Size of something that is no tuple of sizes")
        return tuple(sizes)

    def __setstate__(self, state: Any) -> None:
        raise TypeError("a state set on a torch.Size")


def tensor_record(storage: Any, dtype: DType, offset: Any, shape: Any, strides: Any) -> TensorRecord:
    """Return a tensor made from a file's arguments.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.
    """
    if type(storage) is not StorageRecord:
        raise TypeError("a tensor without a storage")
    if type(shape) is not tuple or type(strides) is not tuple or len(shape) != len(strides):
        raise TypeError("a tensor whose shape and strides are not tuples of one length")
    if len(shape) > _MOST_DIMENSIONS:
        raise ValueError(f"a tensor of {len(shape)} dimensions")
    if type(offset) is not int or not 0 <= offset < _LARGEST:
        raise ValueError("a tensor whose offset is not a number of elements")
    for number in shape + strides:
        if type(number) is not int or not 0 <= number < _LARGEST:
            raise ValueError("a tensor whose shape or strides are not numbers of elements")
    return TensorRecord(storage, dtype, offset, shape, strides)


def rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> TensorRecord | Recorded:
    """Stand in for `_rebuild_tensor`."""
    if type(storage) is StorageRecord and storage.dtype is None:
        return _ODD_VIEW(storage, offset, shape, strides)
    return tensor_record(storage, storage.dtype, offset, shape, strides)


def rebuild_v2(
    storage: Any, offset: Any, shape: Any, strides: Any, requires_grad: Any = False, hooks: Any = None, bits: Any = None
) -> TensorRecord | Recorded:
    """Stand in for `_rebuild_tensor_v2`.

    `bits` says that the values are to be conjugated or negated.
    """
    tensor = rebuild_tensor(storage, offset, shape, strides)
    return _ODD_VIEW(tensor, bits) if bits else tensor


def rebuild_v3(
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    requires_grad: Any,
    hooks: Any,
    dtype: Any,
    bits: Any = None,
) -> TensorRecord | Recorded:
    """Stand in for `_rebuild_tensor_v3`.

    Its storage is bytes, its dtype is given.
    """
    name = _dtype_name(dtype)
    if name == PACKED_F4 and type(shape) is tuple and type(strides) is tuple and shape and strides[-1:] == (1,):
        packed = _packed(tensor_record(storage, DType.U8, offset, shape, strides))
        return packed or _ODD_DTYPE(storage, dtype, offset, shape, strides)
    known = BY_DTYPE_NAME.get(name)
    if known is None:
        return _ODD_DTYPE(storage, dtype, offset, shape, strides)
    tensor = tensor_record(storage, known, offset, shape, strides)
    return _ODD_VIEW(tensor, bits) if bits else tensor


def _dtype_name(dtype: Any) -> str:
    """Return the name of a dtype, without `torch.`.

    One that a later torch has is not known here, and named all the same.
    """
    if isinstance(dtype, TorchDtype):
        return str(dtype.args[0])
    if isinstance(dtype, type) and issubclass(dtype, Recorded) and dtype.class_name.startswith("torch."):
        return dtype.class_name.removeprefix("torch.")
    raise TypeError("a tensor whose dtype is not one")


def _packed(tensor: TensorRecord) -> TensorRecord | None:
    """Return a tensor of F4 pairs as single F4 elements.

    None where its rows have gaps.
    """
    from ckpt_core.schema.tensors import is_row_major, row_major_strides

    if not is_row_major(tensor.shape, tensor.strides):
        return None
    shape = (*tensor.shape[:-1], tensor.shape[-1] * 2)
    return TensorRecord(tensor.storage, DType.F4, tensor.offset * 2, shape, row_major_strides(shape))


def rebuild_parameter(data: Any, requires_grad: Any = True, hooks: Any = None, state: Any = None) -> Any:
    """Stand in for `_rebuild_parameter` and `_rebuild_parameter_with_state`."""
    return _with_state("torch.nn.parameter.Parameter", data, state)


def rebuild_from_type(function: Any, kind: Any, args: Any, state: Any) -> Any:
    """Stand in for `_rebuild_from_type_v2`: a tensor of a subclass."""
    if not callable(function) or type(args) is not tuple:
        raise TypeError("a tensor subclass that is made of no tensor")
    name = kind.class_name if isinstance(kind, type) and issubclass(kind, Recorded) else "?"
    return _with_state(name, function(*args), state)


def rebuild_on_device(data: Any, dtype: Any, device: Any, requires_grad: Any) -> Any:
    """Stand in for `_rebuild_device_tensor_from_cpu_tensor`.

    The elements are those of `data`.
    """
    if (
        isinstance(data, TensorRecord)
        and isinstance(dtype, TorchDtype)
        and BY_DTYPE_NAME.get(dtype.args[0]) == data.dtype
    ):
        return data
    return _ODD_DTYPE(data, dtype, device)


def _with_state(class_name: str, tensor: Any, state: Any) -> Any:
    parts = state if type(state) is tuple else (state,)
    if class_name in _PLAIN_CLASSES and not any(part and not _is_plain(part) for part in parts):
        return tensor
    record = WithAttributes(tensor, class_name)
    record.state = state
    return record


def _same(value: Any, type_name: Any = None) -> Any:
    """Return a value of TorchScript unchanged.

    It is a list, or a value with the name of its type; `torch/jit/_pickle.py`.
    """
    return value


def _is_plain(attributes: Any) -> bool:
    return isinstance(attributes, dict) and _PLAIN_ATTRIBUTES.issuperset(attributes)


def torch_factories(budget: Budget) -> dict[str, Any]:
    """Return the stand-ins for torch's names, by full name.

    They are its constructors, storage classes and dtypes.
    """
    factories: dict[str, Any] = {
        "torch._utils._rebuild_tensor": rebuild_tensor,
        "torch._utils._rebuild_tensor_v2": rebuild_v2,
        "torch._utils._rebuild_tensor_v3": rebuild_v3,
        "torch._utils._rebuild_parameter": rebuild_parameter,
        "torch._utils._rebuild_parameter_with_state": rebuild_parameter,
        "torch._utils._rebuild_device_tensor_from_cpu_tensor": rebuild_on_device,
        "torch._tensor._rebuild_from_type_v2": rebuild_from_type,
        "torch.tensor._rebuild_from_type_v2": rebuild_from_type,
        "torch.Size": Size,
        **{f"torch.jit._pickle.{name}": _same for name in _SCRIPT_LISTS},
    }
    for name in _NOT_STRIDED:
        factories[name] = recorded_class(name, budget, tensor_like=True)
    for name, (dtype, itemsize) in BY_STORAGE_NAME.items():
        for module in ("torch", "torch.cuda", "torch.storage"):
            factories[f"{module}.{name}"] = StorageType(f"torch.{name}", dtype, itemsize)
    for name in (*BY_DTYPE_NAME, *OTHER_DTYPES, PACKED_F4):
        factories[f"torch.{name}"] = _dtype(name)
    return factories


def _dtype(name: str) -> TorchDtype:
    record = TorchDtype(name)
    assert isinstance(record, TorchDtype)
    return record


def storage_record(pid: tuple[Any, ...]) -> Any:
    """Return the storage that a persistent id stands for.

    The id may also stand for the class of a module that was saved with its source.

    Raises:
        TypeError: It is neither.
    """
    if len(pid) in (5, 6) and pid[0] == "storage" and type(pid[1]) is StorageType:
        _, kind, key, _, numel, *view = pid
        if type(key) is not str or type(numel) is not int or not 0 <= numel < _LARGEST:
            raise TypeError("a storage without a key or a number of elements")
        return StorageRecord(key, kind.dtype, kind.name, numel, kind.itemsize, _view(view[0]) if view else None)
    if len(pid) == 4 and pid[0] == "module" and isinstance(pid[1], type) and issubclass(pid[1], Recorded):
        return pid[1]
    raise TypeError("a persistent id that is no storage")


def _view(view: Any) -> tuple[int, int] | None:
    if view is None:
        return None
    _, offset, numel = view
    if type(offset) is not int or type(numel) is not int or not (0 <= offset < _LARGEST and 0 <= numel < _LARGEST):
        raise TypeError("a view of a storage without bounds")
    return offset, numel
