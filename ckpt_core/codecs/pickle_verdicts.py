"""The table of verdicts: what each name that a pickle may ask for would do, where it is unpickled.

Nothing is imported or called here, whatever the verdict. A name that the table does not have is UNKNOWN: so is every
function of Python, torch and numpy that was not looked at, for attacks use the obscure ones. `docs/pickles.md` shows
the table; `pickle_policy` says what becomes of a name's arguments.
"""

import re
from collections.abc import Iterable
from enum import IntEnum

from ckpt_core.codecs.dangerous_names import (
    ACTIVE_CLASSES,
    DANGEROUS,
    DANGEROUS_MODULES,
    DEED_OF_MODULE,
    DEED_OF_NAME,
    REACHED,
)


class Verdict(IntEnum):
    """What a name is, from the best to the worst.

    Attributes:
        DATA: A plain value, or a class of plain values.
        HARMLESS: An inert class or a pure function; kept opaque.
        UNKNOWN: Nothing is known of it; kept opaque.
        DANGEROUS: It runs, opens, connects, imports or compiles; the file is refused.
    """

    DATA = 0
    HARMLESS = 1
    UNKNOWN = 2
    DANGEROUS = 3


DATA: dict[str, str] = {
    "builtins": "bool bytearray bytes complex dict float frozenset int list object range set slice str tuple type "
    "Ellipsis NotImplemented",
    "argparse": "Namespace",
    "collections": "ChainMap Counter OrderedDict UserDict UserList UserString defaultdict deque",
    "datetime": "date datetime time timedelta timezone",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "pathlib": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
    "pathlib._local": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
    "random": "Random",
    "types": "NoneType SimpleNamespace",
    "uuid": "SafeUUID UUID",
    "numpy": "bool bool_ bytes_ complex128 complex256 complex64 float128 float16 float32 float64 int16 int32 int64 "
    "int8 longlong matrix ndarray object_ recarray str_ uint16 uint32 uint64 uint8 ulonglong void",
    "numpy.ma.core": "MaskedArray MaskedConstant _mareconstruct",
    "numpy.random._pickle": "__bit_generator_ctor __generator_ctor __randomstate_ctor",
    "numpy.rec": "recarray",
    "torch": "Generator Tensor Size device finfo iinfo preserve_format contiguous_format channels_last "
    "channels_last_3d strided jagged sparse_coo sparse_csr sparse_csc sparse_bsr sparse_bsc _mkldnn per_tensor_affine "
    "per_tensor_symmetric per_channel_affine per_channel_symmetric per_channel_affine_float_qparams",
    "torch._dynamo.decorators": "_DimRange",
    "torch.distributed.checkpoint.filesystem": "_StorageInfo _StoragePrefix",
    "torch.distributed.remote_device": "_remote_device",
    "torch.serialization": "_get_layout",
    "deepspeed.checkpoint.universal_checkpoint": "SubparamShape",
    "deepspeed.runtime.fp16.loss_scaler": "DynamicLossScaler LossScaler",
    "deepspeed.runtime.zero.config": "ZeroStageEnum",
    "deepspeed.utils.tensor_fragment": "fragment_address",
}
"""Names by their module."""

DATA_MODULES = """
    numpy.dtypes numpy.random._mt19937 numpy.random._pcg64 numpy.random._philox numpy.random._sfc64
    numpy.random.bit_generator torch.distributed._mesh_layout torch.distributed._shard torch.distributed._tensor
    torch.distributed.checkpoint.metadata torch.distributed.device_mesh torch.distributed.tensor
    torch.nn.parameter torch.storage torch.torch_version
"""
"""Modules, with those below them, whose classes hold data."""

HARMLESS: dict[str, str] = {
    "builtins": "abs all any ascii bin callable chr divmod enumerate hash hex isinstance issubclass len max min oct "
    "ord pow repr reversed round sorted sum zip",
    "_codecs": "encode",
    "_io": "BytesIO StringIO",
    "_weakrefset": "WeakSet",
    "array": "array _array_reconstructor",
    "contextlib": "nullcontext",
    "dataclasses": "Field InitVar MISSING _HAS_DEFAULT_FACTORY_CLASS _MISSING_TYPE",
    "io": "BytesIO StringIO",
    "logging": "getLogger",
    "operator": "abs add and_ concat contains eq floordiv ge gt index inv invert is_ is_not le lshift lt matmul mod "
    "mul ne neg not_ or_ pos pow rshift sub truediv truth xor",
    "optparse": "Values",
    "time": "monotonic perf_counter process_time struct_time time",
    "types": "GenericAlias MappingProxyType UnionType",
    "zoneinfo": "ZoneInfo ZoneInfo._unpickle",
    "numpy": "abs absolute add amax amin arange array asarray ceil clip concatenate cos dot exp expand_dims floor "
    "isfinite isinf isnan log log10 log2 max maximum mean median min minimum multiply ones prod round sign sin sqrt "
    "square stack std subtract sum tanh var where zeros",
    "torch": "abs add bmm cat ceil clamp cos div eq erf exp exp2 flatten floor log log10 log2 log_softmax logsumexp "
    "matmul max maximum mean min minimum mul neg norm ones pow relu relu_ round rsqrt selu sigmoid sign sin softmax "
    "sqrt square squeeze stack std sub sum tanh unsqueeze var where zeros",
    "torch._C._nn": "elu gelu hardsigmoid hardswish hardtanh leaky_relu log_sigmoid mish relu6 silu softplus",
    "accelerate.state": "AcceleratorState GradientState PartialState",
    "addict.addict": "Dict",
    "easydict": "EasyDict",
    "fvcore.common.config": "CfgNode",
    "ml_collections.config_dict.config_dict": "ConfigDict FieldReference FrozenConfigDict",
    "mmengine.config.config": "Config ConfigDict",
    "yacs.config": "CfgNode",
}
"""Names by their module."""

HARMLESS_MODULES = """
    cmath collections.abc enum ipaddress math numbers typing typing_extensions
    torch.amp torch.cuda.amp torch.distributions torch.nn torch.optim torch.return_types torch.utils.data.dataset
    torch.utils.data.sampler
    accelerate.utils.dataclasses omegaconf lightning.fabric.utilities.data lightning_fabric.utilities.data
    peft.tuners.lora.config peft.utils.peft_types
    pytorch_lightning.utilities.parsing lightning.pytorch.utilities.parsing
    transformers.debug_utils transformers.trainer_pt_utils transformers.trainer_utils transformers.training_args
    transformers.training_args_seq2seq
"""
"""Modules, with those below them, whose classes are inert: what one holds is set on it, and nothing else is done."""

PURE_MODULES = "cmath math torch.nn.functional torch.return_types torch.special"
"""Modules, with those below them, whose functions are pure."""

BUILTIN_ERRORS = "ArithmeticError AssertionError AttributeError BaseException Exception ImportError IndexError IOError \
KeyError KeyboardInterrupt LookupError MemoryError NameError NotImplementedError OSError OverflowError RuntimeError \
RuntimeWarning StopIteration SystemError TimeoutError TypeError UserWarning ValueError Warning ZeroDivisionError \
DeprecationWarning FileExistsError FileNotFoundError FloatingPointError FutureWarning GeneratorExit InterruptedError \
IsADirectoryError ModuleNotFoundError NotADirectoryError PermissionError ProcessLookupError RecursionError \
ReferenceError ResourceWarning StopAsyncIteration SyntaxError SystemExit UnicodeDecodeError UnicodeEncodeError \
UnicodeError EOFError ConnectionError ConnectionResetError BrokenPipeError BlockingIOError ChildProcessError"
"""Python's exceptions, which are objects like others until they are raised."""


def _names(*tables: dict[str, str]) -> frozenset[str]:
    return frozenset(f"{module}.{name}" for table in tables for module in table for name in table[module].split())


_DATA = _names(DATA)
_HARMLESS = _names(HARMLESS, {"builtins": BUILTIN_ERRORS})
_DATA_MODULES = frozenset(DATA_MODULES.split())
_HARMLESS_MODULES = frozenset(HARMLESS_MODULES.split())
_PURE_MODULES = frozenset(PURE_MODULES.split())
_NOT_INERT = frozenset(["typing.ForwardRef", "typing.NamedTuple", "typing_extensions.NamedTuple"])
_TORCH_DTYPE = re.compile(r"torch\.(q?u?int\d\w*|bits\d\w*|float\d\w*|bfloat16|complex\d+|bool|double|half|long|short)")
_OWN = frozenset(["torch", "numpy"])


def judge(full_name: str, name: str = "") -> Verdict:
    """The verdict of a full dotted name; `name` is the part that is looked up within the module, "" for the last."""
    name = name or full_name.rpartition(".")[2]
    module = full_name[: -len(name) - 1]
    if full_name in _DATA or _TORCH_DTYPE.fullmatch(full_name):
        return Verdict.DATA
    if full_name in _HARMLESS:
        return Verdict.HARMLESS
    if deed(full_name, name):
        return Verdict.DANGEROUS
    if all(_is_class(part) for part in name.split(".")) and full_name not in _NOT_INERT:
        if within(module, _DATA_MODULES):
            return Verdict.DATA
        if within(module, _HARMLESS_MODULES):
            return Verdict.HARMLESS
    return Verdict.HARMLESS if "." not in name and within(module, _PURE_MODULES) else Verdict.UNKNOWN


def deed(full_name: str, name: str) -> str:
    """What a dangerous name would do where the file is unpickled; "" for one that is not known to be dangerous."""
    module = full_name[: -len(name) - 1]
    parts = name.split(".")
    if any(part.startswith("__") and part.endswith("__") for part in parts) and full_name not in DEED_OF_NAME:
        return REACHED
    known = DEED_OF_NAME.get(full_name) or DEED_OF_NAME.get(f"*.{parts[-1]}")
    if known:
        return known
    family = within(module, DANGEROUS_MODULES) or within(full_name, DANGEROUS_MODULES)
    if family:
        return DEED_OF_MODULE[family]
    if any(part.strip("_") in DANGEROUS for part in parts):
        return REACHED
    if len(parts) > 1 and is_own(full_name) and not all(map(_is_class, parts)):
        return REACHED
    return ACTIVE_CLASSES.get(parts[-1], "")


def within(module: str, modules: frozenset[str]) -> str:
    """Which of the modules it is, or lies below; "" for none."""
    while module and module not in modules:
        module = module.rpartition(".")[0]
    return module


def is_own(full_name: str) -> bool:
    """Whether a name is of Python, torch or numpy."""
    import sys

    top = full_name.partition(".")[0]
    return top in _OWN or top in sys.stdlib_module_names


def _is_class(name: str) -> bool:
    return name.lstrip("_")[:1].isupper()


def table() -> str:
    """The table as Markdown, as `docs/pickles.md` has it."""
    from ckpt_core.codecs.dangerous_names import MODULES, NAMES

    lines = ["| verdict | what | names |", "|---|---|---|"]
    for verdict, names, modules in (("data", _DATA, _DATA_MODULES), ("harmless", _HARMLESS, _HARMLESS_MODULES)):
        lines.append(f"| {verdict} | these names | {_shown(names)} |")
        lines.append(f"| {verdict} | the classes of these modules and of those below | {_shown(modules)} |")
    lines.append(f"| harmless | the functions of these modules | {_shown(_PURE_MODULES)} |")
    for what in NAMES:
        lines.append(f"| dangerous: {what} | these names | {_shown(NAMES[what].split())} |")
    for what in MODULES:
        lines.append(f"| dangerous: {what} | all of these modules | {_shown(MODULES[what].split())} |")
    lines.append("| unknown | every other name | |")
    return "\n".join(lines) + "\n"


def _shown(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in sorted(names))
