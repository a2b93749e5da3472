"""What to make of a name that a pickle asks for, when it is not one of those that we build data from.

Nothing is imported in either case. The lists here only decide how loudly we speak: a name of the standard library, of
torch or of numpy that is known not to be plain data makes the file *unsafe*, because loading it elsewhere would run
code; any other name is recorded as *unknown*.
"""

import re
import sys
from enum import Enum

from ckpt_core.errors import UnsafeContentError
from ckpt_core.schema.text import printable

_BUILTINS = """
    bool bytearray bytes complex dict float frozenset int list object range set slice str tuple type
    Ellipsis NotImplemented
"""
_BENIGN = frozenset(
    [
        *(f"builtins.{name}" for name in _BUILTINS.split()),
        *(f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")),
        "argparse.Namespace",
        "collections.defaultdict",
        "collections.deque",
        "decimal.Decimal",
        "deepspeed.checkpoint.universal_checkpoint.SubparamShape",
        "deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler",
        "deepspeed.runtime.fp16.loss_scaler.LossScaler",
        "deepspeed.runtime.zero.config.ZeroStageEnum",
        "deepspeed.utils.tensor_fragment.fragment_address",
        "fractions.Fraction",
        "random.Random",
        "types.NoneType",
        "types.SimpleNamespace",
        "uuid.SafeUUID",
        "uuid.UUID",
        "numpy.matrix",
        "numpy.ndarray",
        "numpy.recarray",
        "numpy.rec.recarray",
        "numpy.ma.core._mareconstruct",
        "numpy.random._pickle.__bit_generator_ctor",
        "numpy.random._pickle.__generator_ctor",
        "numpy.random._pickle.__randomstate_ctor",
        "torch.device",
        "torch.distributed.remote_device._remote_device",
        "torch.finfo",
        "torch.iinfo",
        "torch.serialization._get_layout",
    ]
)

# Classes of these modules hold data; so do torch's and numpy's, which are written in CamelCase.
_DATA_MODULES = re.compile(r"(collections|pathlib|torch|numpy)(\.\w+)*\._*[A-Z]\w*")
# Plain constants and pure functions, as pickled modules and optimizers hold them.
_CONSTANTS = re.compile(
    r"numpy\.(bool_?|u?int\d+|float\d+|complex\d+|longlong|ulonglong|str_|bytes_|void|object_)"
    r"|numpy\.random\.\w+\.__pyx_unpickle_\w+"
    r"|torch\.(u?int\d+|bits\w+|q?u?int\d\w*|float\d\w*|bfloat16|complex\d+|bool|strided|jagged|sparse_\w+|_mkldnn"
    r"|per_tensor_\w+|per_channel_\w+|preserve_format|contiguous_format|channels_last\w*)"
    r"|torch\.nn\.functional\.\w+"
)

# Packages and functions that exist to run code, install it or unpickle it, and that many machines have.
_RUN_CODE = re.compile(
    r"(IPython|_interp\w+|_xx\w+|cloudpickle|dill|pip|pkg_resources|setuptools)\..*"
    r"|(joblib|jsonpickle|pandas|ruamel|yaml)(\.\w+)*\._*(load|loads|\w+_load|read_pickle|eval)"
    r"|.*\.(CDLL|CodeType|FunctionType|LambdaType|Popen|PyDLL)"
)
# Classes that torch's and numpy's modules have, or import, and that start programs, write files, connect or compile.
_ACTIVE_CLASSES = frozenset(
    [
        "BuildExtension",
        "CompilationUnit",
        "ExecutionTraceObserver",
        "FileStore",
        "MethodType",
        "ModuleType",
        "PackageExporter",
        "PackageImporter",
        "Pool",
        "Process",
        "ProcessPoolExecutor",
        "PyTorchFileReader",
        "PyTorchFileWriter",
        "ScriptModuleSerializer",
        "SummaryWriter",
        "TCPStore",
        "Thread",
        "ThreadPool",
        "ThreadPoolExecutor",
        "Timer",
    ]
)
# A dotted name within a module is a class in a class; anything else on the way is a module or a method.
_NESTED_CLASS = re.compile(r"_*[A-Z]\w*(\._*[A-Z]\w*)*")


class Verdict(Enum):
    BENIGN = "benign"
    UNKNOWN = "unknown"
    UNSAFE = "unsafe"


def canonical(module: str, name: str) -> str:
    """The full name, under the module's name in Python 3."""
    from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

    if (module, name) in NAME_MAPPING:
        module, name = NAME_MAPPING[module, name]
    return f"{IMPORT_MAPPING.get(module, module)}.{name}"


def refusal(path: str, full_name: str) -> UnsafeContentError:
    """What is raised for a pickle that asks for an unsafe name."""
    return UnsafeContentError(
        f"{printable(path)}: asks for {printable(full_name)}, which would run code when unpickled; "
        "nothing was executed; get the file from a source you trust, as safetensors or a plain state dict",
        code="PK003",
        path=path,
    )


def judge(full_name: str, name: str = "") -> Verdict:
    """What to make of a full dotted name; `name` is the part that is looked up within the module, "" for the last."""
    name = name or full_name.rpartition(".")[2]
    if "." in name and not _NESTED_CLASS.fullmatch(name):
        return Verdict.UNSAFE
    if _RUN_CODE.fullmatch(full_name) or (name in _ACTIVE_CLASSES and _DATA_MODULES.fullmatch(full_name)):
        return Verdict.UNSAFE
    if full_name in _BENIGN or _DATA_MODULES.fullmatch(full_name) or _CONSTANTS.fullmatch(full_name):
        return Verdict.BENIGN
    top = full_name.partition(".")[0]
    if top in ("torch", "numpy") or top in sys.stdlib_module_names or _was_in_python2(top):
        return Verdict.UNSAFE
    return Verdict.UNKNOWN


def _was_in_python2(module: str) -> bool:
    from _compat_pickle import IMPORT_MAPPING

    return module in IMPORT_MAPPING or module in (
        "commands",
        "compiler",
        "imp",
        "popen2",
        "posix",
        "nt",
        "sets",
        "user",
    )
