"""The table of verdicts on names in pickles.

It says what each name would do where it is unpickled.

Nothing is imported or called here, whatever the verdict. A name that the table does not have is UNKNOWN: so is every
function of Python, torch and numpy that was not looked at, for attacks use the obscure ones. `docs/pickles.md` shows
the table; `policy` says what becomes of a name's arguments.
"""

import re
from collections.abc import Iterable
from enum import IntEnum

from ckpt_core.codecs.pickle.verdicts.dangerous_names import (
    ACTIVE_CLASSES,
    DANGEROUS,
    DANGEROUS_MODULES,
    DEED_OF_MODULE,
    DEED_OF_NAME,
    REACHED,
)
from ckpt_core.codecs.pickle.verdicts.harmless_names import (
    BUILTIN_ERRORS,
    DATA,
    HARMLESS,
    INERT,
    INERT_MODULES,
    PURE_MODULES,
    RESTORED_DATA,
)


class NameVerdict(IntEnum):
    """The verdict on a name, from the best to the worst.

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


def _names(*tables: dict[str, str]) -> frozenset[str]:
    return frozenset(f"{module}.{name}" for table in tables for module in table for name in table[module].split())


_CALLED_DATA = _names(DATA)
_RESTORED_DATA = _names(RESTORED_DATA)
_CALLED = _names(HARMLESS, {"builtins": BUILTIN_ERRORS})
_INERT = _names(INERT)
_INERT_MODULES = frozenset(INERT_MODULES.split())
_PURE_MODULES = frozenset(PURE_MODULES.split())
_DATA = _CALLED_DATA | _RESTORED_DATA
_HARMLESS = _CALLED | _INERT
_NOT_INERT = frozenset(["typing.ForwardRef", "typing.NamedTuple", "typing_extensions.NamedTuple"])
_TORCH_DTYPE = re.compile(r"torch\.(q?u?int\d\w*|bits\d\w*|float\d\w*|bfloat16|complex\d+|bool|double|half|long|short)")
_PUBLIC_CLASS = re.compile(r"[A-Z]\w+")
_OWN = frozenset(["torch", "numpy"])


def judge(full_name: str, name: str = "") -> NameVerdict:
    """Return the verdict of a full dotted name.

    `name` is the part that is looked up within the module, "" for the last.
    """
    name = name or full_name.rpartition(".")[2]
    module = full_name[: -len(name) - 1]
    if full_name in _DATA or _TORCH_DTYPE.fullmatch(full_name):
        return NameVerdict.DATA
    if full_name in _HARMLESS:
        return NameVerdict.HARMLESS
    if deed(full_name, name):
        return NameVerdict.DANGEROUS
    if module in _PURE_MODULES and "." not in name:
        return NameVerdict.HARMLESS
    inert = module in _INERT_MODULES and _PUBLIC_CLASS.fullmatch(name) and full_name not in _NOT_INERT
    return NameVerdict.HARMLESS if inert else NameVerdict.UNKNOWN


def called(full_name: str) -> NameVerdict:
    """Return the verdict of a call of this name.

    Whatever it is called with.
    """
    verdict = judge(full_name)
    return verdict if full_name in _CALLED_DATA or full_name in _CALLED else max(verdict, NameVerdict.UNKNOWN)


def deed(full_name: str, name: str) -> str:
    """Return what a dangerous name would do when unpickled.

    "" for one that is not known to be dangerous.
    """
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
    """Return the module of a set that contains a module.

    It is that module or lies above it; "" for none.
    """
    while module and module not in modules:
        module = module.rpartition(".")[0]
    return module


def is_own(full_name: str) -> bool:
    """Return True for a name of Python, torch or numpy."""
    import sys

    top = full_name.partition(".")[0]
    return top in _OWN or top in sys.stdlib_module_names


def _is_class(name: str) -> bool:
    return name.lstrip("_")[:1].isupper()


def table() -> str:
    """Return the table as Markdown for `docs/pickles.md`."""
    from ckpt_core.codecs.pickle.verdicts.dangerous_names import MODULES, NAMES

    lines = ["| verdict | what | names |", "|---|---|---|"]
    for what, names in (
        ("data", _CALLED_DATA),
        ("data, unless it is called", _RESTORED_DATA),
        ("harmless", _CALLED),
        ("harmless, unless it is called", _INERT),
    ):
        lines.append(f"| {what} | these names | {_shown(names)} |")
    lines.append(f"| harmless, unless it is called | the public classes of these modules | {_shown(_INERT_MODULES)} |")
    lines.append(f"| harmless, unless it is called | the functions of these modules | {_shown(_PURE_MODULES)} |")
    for what in NAMES:
        lines.append(f"| dangerous: {what} | these names | {_shown(NAMES[what].split())} |")
    for what in MODULES:
        lines.append(f"| dangerous: {what} | all of these modules | {_shown(MODULES[what].split())} |")
    lines.append("| unknown | every other name | |")
    return "\n".join(lines) + "\n"


def _shown(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in sorted(names))
