"""Describes tensors that are not plain strided numbers.

It says what each is in words, and which plain tensors it is made of.

Sources: torch, `torch/_tensor.py` (_reduce_ex_internal), `torch/_utils.py` (the `_rebuild_*` functions),
`torch/nested/_internal/nested_tensor.py` (_rebuild_njt); names are those of the methods that give the inner tensors.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ckpt_core.codecs.pickle.records import Recorded, StorageRecord, TensorRecord
from ckpt_core.codecs.torch_dtypes import OTHER_DTYPES
from ckpt_core.schema.dtypes import DType

_QUANTIZED = {
    "torch.QInt8Storage": ("qint8", DType.I8),
    "torch.QUInt8Storage": ("quint8", DType.U8),
    "torch.QInt32Storage": ("qint32", DType.I32),
}
_PACKED = {"torch.QUInt4x2Storage": "quint4x2", "torch.QUInt2x4Storage": "quint2x4"}
_COMPRESSED = {
    "csr": ("crow_indices", "col_indices"),
    "csc": ("ccol_indices", "row_indices"),
    "bsr": ("crow_indices", "col_indices"),
    "bsc": ("ccol_indices", "row_indices"),
}


class Odd(NamedTuple):
    """A description of an odd tensor.

    `what` is it in words, `facts` what else describes it, `parts` the values that it is made of, by name.
    """

    what: str
    facts: Mapping[str, Any]
    parts: Mapping[str, Any]


def odd_tensor(value: Recorded) -> Odd:
    """Describe the odd tensor that a record stands for.

    It has no parts where its arguments are not those that are known.
    """
    short = value.class_name.rpartition(".")[2]
    describe = _KINDS.get(short)
    try:
        if describe is not None:
            return describe(value)
    except (AttributeError, LookupError, TypeError, ValueError):
        pass  # said below: its arguments are kept as they are
    return Odd(f"made by {value.class_name}", {}, {})


def wrapper(class_name: str, tensor: Recorded, state: Any) -> Odd:
    """Describe a tensor of a class that wraps others.

    It is made by `_rebuild_wrapper_subclass`, and attributes are set on it.
    """
    fields = state
    if type(state) is tuple and len(state) == 2:
        fields = {**(state[0] or {}), **(state[1] or {})}
    parts = dict(fields) if isinstance(fields, Mapping) else {"state": state}
    return Odd(f"a wrapper, {class_name}", {"arguments": tensor.args[1:4]}, parts)


def _quantized(value: Recorded) -> Odd:
    storage, offset, shape, strides, (scheme, *parameters), *_ = value.args
    per_channel = "channel" in scheme.class_name
    facts: dict[str, Any] = {"shape": shape, "scheme": scheme.class_name}
    parts: dict[str, Any] = {}
    if storage.type_name in _QUANTIZED:
        name, dtype = _QUANTIZED[storage.type_name]
        parts["int_repr"] = _view(storage._replace(dtype=dtype), dtype, offset, shape, strides)
    else:
        name = _PACKED[storage.type_name]
        parts["packed"] = _view(storage._replace(dtype=DType.U8), DType.U8, 0, (storage.numel,), (1,))
    if per_channel:
        parts["q_per_channel_scales"], parts["q_per_channel_zero_points"], facts["axis"] = parameters
    else:
        facts["q_scale"], facts["q_zero_point"] = parameters
    return Odd(f"quantized ({name}, {'per channel' if per_channel else 'per tensor'})", facts, parts)


def _sparse(value: Recorded) -> Odd:
    layout, (first, second, *others) = value.args
    (name,) = layout.args
    kind = name.rpartition("_")[2]
    if kind == "coo":
        return Odd("sparse COO", {"layout": name, "others": others}, {"indices": first, "values": second})
    compressed, plain = _COMPRESSED[kind]
    parts = {compressed: first, plain: second, "values": others[0]}
    return Odd(f"sparse {kind.upper()}", {"layout": name, "others": others[1:]}, parts)


def _nested(value: Recorded) -> Odd:
    values, sizes, strides, offsets = value.args
    parts = {"values": values, "sizes": sizes, "strides": strides, "storage_offsets": offsets}
    return Odd("nested", {}, parts)


def _jagged(value: Recorded) -> Odd:
    (fields,) = value.args
    parts = {name: fields[name] for name in ("values", "offsets", "lengths") if fields.get(name) is not None}
    return Odd("nested (jagged)", {"ragged_idx": fields.get("_ragged_idx")}, parts)


def _meta(value: Recorded) -> Odd:
    dtype, shape = value.args[:2]
    return Odd("on the meta device, without data", {"dtype": f"torch.{dtype.args[0]}", "shape": shape}, {})


def _uninitialized(value: Recorded) -> Odd:
    return Odd("uninitialized, without data", {}, {})


def _moved(what: str) -> Callable[[Recorded], Odd]:
    return lambda value: Odd(what, {"others": value.args[1:]}, {"values": value.args[0]})


def _wrapped(value: Recorded) -> Odd:
    return Odd(f"a wrapper, {value.args[0].class_name}", {"arguments": value.args[1:4]}, {})


def _view_of_bits(value: Recorded) -> Odd:
    """Describe a tensor of `_rebuild_tensor_v2` that is not plain.

    Its values are to be changed, or it is a view of a quantized storage.
    """
    tensor, bits, *_ = value.args
    if type(tensor) is not TensorRecord:
        return Odd(f"of a {tensor.type_name}", {}, {})
    flags = [name for name in ("conj", "neg") if bits.get(name)]
    return Odd(f"a view to be {' and '.join(_TO_BE[flag] for flag in flags)}", {}, {"stored": tensor})


_TO_BE = {"conj": "conjugated", "neg": "negated"}


def _unknown_dtype(value: Recorded) -> Odd:
    """Describe a tensor of `_rebuild_tensor_v3` with an unknown type.

    There is no code for the type, so its part is the bytes.
    """
    storage, dtype, offset, shape, strides = value.args
    name = dtype.args[0] if isinstance(dtype, Recorded) else dtype.class_name.removeprefix("torch.")
    width = OTHER_DTYPES.get(name)
    facts = {"dtype": f"torch.{name}", "shape": shape}
    if width is None or type(storage) is not StorageRecord:
        return Odd(f"of type {name}", facts, {})
    steps = (*(stride * width for stride in strides), 1)
    return Odd(f"of type {name}", facts, {"bytes": _view(storage, DType.U8, offset * width, (*shape, width), steps)})


def _view(
    storage: StorageRecord, dtype: DType, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> TensorRecord:
    from ckpt_core.codecs.pickle.torch_types import tensor_record

    return tensor_record(storage, dtype, offset, shape, strides)


_KINDS: dict[str, Callable[[Recorded], Odd]] = {
    "UninitializedBuffer": _uninitialized,
    "UninitializedParameter": _uninitialized,
    "_rebuild_device_tensor_from_numpy": _moved("of another device"),
    "_rebuild_meta_tensor_no_storage": _meta,
    "_rebuild_mkldnn_tensor": _moved("MKLDNN"),
    "_rebuild_nested_tensor": _nested,
    "_rebuild_njt": _jagged,
    "_rebuild_qtensor": _quantized,
    "_rebuild_sparse_csr_tensor": _sparse,
    "_rebuild_sparse_tensor": _sparse,
    "_rebuild_tensor_v2": _view_of_bits,
    "_rebuild_tensor_v3": _unknown_dtype,
    "_rebuild_wrapper_subclass": _wrapped,
    "_rebuild_xla_tensor": _moved("of an XLA device"),
}
