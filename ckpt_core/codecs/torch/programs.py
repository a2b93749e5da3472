"""Reads the tensors in programs of torch.

torch.jit.save and torch.export.save wrote them; their code is never looked at.

TorchScript keeps its module in `data.pkl`, as objects whose attributes are parameters, buffers and submodules, and the
tensors of its code in `constants.pkl`. An exported program has tables of its weights and constants in JSON.

Sources: torch, `torch/csrc/jit/serialization/export_module.cpp` and `import.cpp`;
`torch/export/pt2_archive/_package.py` (_load_state_dict), `constants.py`, `torch/_export/serde/schema.py` (TensorMeta).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ckpt_core.codecs.pickle.reader import Pickle
from ckpt_core.codecs.pickle.records import StorageRecord, TensorRecord
from ckpt_core.codecs.pickle.torch_types import tensor_record
from ckpt_core.codecs.strict_json import DuplicateKeyError, NotAnObjectError, parse_object
from ckpt_core.codecs.zip.directory import Member
from ckpt_core.errors import CorruptError
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.state import Opaque, State, TensorRef, with_names
from ckpt_core.schema.text import printable

CONSTANTS = "constants"
_WEIGHTS_CONFIG = "_weights_config.json"
_CONSTANTS_CONFIG = "_constants_config.json"
_STRIDED = 7
_DTYPES = {
    1: DType.U8,
    2: DType.I8,
    3: DType.I16,
    4: DType.I32,
    5: DType.I64,
    6: DType.F16,
    7: DType.F32,
    8: DType.F64,
    10: DType.C64,
    11: DType.C128,
    12: DType.BOOL,
    13: DType.BF16,
    28: DType.U16,
    29: DType.F8_E4M3,
    30: DType.F8_E5M2,
    31: DType.F8_E4M3FNUZ,
    32: DType.F8_E5M2FNUZ,
    33: DType.F8_E8M0,
    34: DType.U32,
    35: DType.U64,
}

Tensors = dict[str, TensorRecord]


def is_exported(members: Mapping[str, Member], root: str) -> bool:
    """Return True if an archive is one of torch.export's.

    It has tables of weights.
    """
    return f"{root}/archive_format" in members or bool(_configs(members, root, _WEIGHTS_CONFIG))


def joined_script(module: Pickle, constants: Pickle) -> tuple[State, dict[str, Any]]:
    """Return the state and tensors of a TorchScript module.

    Storages of constants are under `constants/KEY`. Its own tensors are its state dict; those that its code names stand
    beside it, as the code calls them: `c0`, `c1`, ….
    """
    tensors: dict[str, Any] = dict(module.tree.tensors)
    if not constants.tree.tensors:
        return module.tree.root, tensors
    names = {name: f"state_dict.{name}" for name in tensors}
    held: dict[str, State] = {"state_dict": with_names(module.tree.root, names)} if tensors else {}
    joined = {names[name]: tensor for name, tensor in tensors.items()}
    beside: dict[str, State] = {}
    for name, tensor in constants.tree.tensors.items():
        if isinstance(tensor, TensorRecord):
            storage = tensor.storage._replace(key=f"{CONSTANTS}/{tensor.storage.key}")
            joined[f"{CONSTANTS}.c{name}"] = tensor._replace(storage=storage)
            beside[f"c{name}"] = TensorRef(f"{CONSTANTS}.c{name}")
    return {**held, CONSTANTS: beside}, joined


def unread(path: str, what: str, names: list[str]) -> Finding:
    """Return TF012, which names the unread parts of a program."""
    shown = ", ".join(printable(name, 80) for name in names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")
    message = f"{what}: its tensors are read, its code is not ({shown or 'none'})"
    return Finding("TF012", Severity.INFO, message, path)


def exported(
    members: Mapping[str, Member], root: str, path: str, read: Callable[[Member], bytes]
) -> tuple[State, Tensors, list[Finding]]:
    """Return state, tensors and findings of an exported program.

    The state is its state dict, and beside it the constants of its graph.

    Raises:
        CorruptError: TF001, a table of weights is damaged.
    """
    tensors: Tensors = {}
    findings: list[Finding] = []
    groups: dict[str, State] = {}
    for key, ending in (("state_dict", _WEIGHTS_CONFIG), (CONSTANTS, _CONSTANTS_CONFIG)):
        configs = _configs(members, root, ending)
        for name in configs:
            program = name.rpartition("/")[2].removesuffix(ending)
            label = key if len(configs) == 1 else f"{key}:{program}"
            folder = name.rpartition("/")[0]
            state: dict[str, State] = {}
            for tensor, entry in _entries(path, name, read(members[name])):
                record = _record(path, tensor, entry, members, folder)
                if record is None:
                    state[tensor] = Opaque("torch.export", tensor="saved by a pickle of its own, which is not read")
                    what = f"{printable(tensor)}: of another kind than plain and strided; not read"
                    findings.append(Finding("TF004", Severity.WARNING, what, path, tensor))
                    continue
                tensors[f"{label}.{tensor}"] = record
                state[tensor] = TensorRef(f"{label}.{tensor}")
            if state:
                groups[label] = state
    return groups, tensors, findings


def _configs(members: Mapping[str, Member], root: str, ending: str) -> list[str]:
    return [name for name in members if name.startswith(f"{root}/data/") and name.endswith(ending)]


def _entries(path: str, name: str, raw: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        config = parse_object(raw)["config"]
        for tensor, entry in config.items():
            if not isinstance(entry, dict):
                raise TypeError(f"{tensor} is no object")
            yield tensor, entry
    except (AttributeError, DuplicateKeyError, LookupError, NotAnObjectError, TypeError) as error:
        raise _damaged(path, f"{name}: {error}") from error


def _record(
    path: str, tensor: str, entry: Mapping[str, Any], members: Mapping[str, Member], folder: str
) -> TensorRecord | None:
    """Return the tensor that a table entry describes.

    None where it is no plain strided one of a type that is known.
    """
    try:
        meta = entry["tensor_meta"]
        if entry["use_pickle"] or meta["layout"] != _STRIDED or meta["dtype"] not in _DTYPES:
            return None
        dtype, name = _DTYPES[meta["dtype"]], entry["path_name"]
        member = members.get(f"{folder}/{name}")
        if member is None:
            raise LookupError(f"its bytes, {name}, are missing")
        numel = member.size // dtype.itemsize
        record = StorageRecord(f"{folder}/{name}", dtype, "torch.export", numel, dtype.itemsize)
        shape, strides = _numbers(meta["sizes"]), _numbers(meta["strides"])
        return tensor_record(record, dtype, meta["storage_offset"]["as_int"], shape, strides)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise _damaged(path, f"{tensor}: {error}") from error


def _numbers(sizes: list[Mapping[str, Any]]) -> tuple[int, ...]:
    return tuple(size["as_int"] for size in sizes)


def _damaged(path: str, reason: str) -> CorruptError:
    message = f"{printable(path)}: the table of its weights is damaged: {printable(reason, 200)}; get the file again"
    return CorruptError(message, code="TF001", path=path)
