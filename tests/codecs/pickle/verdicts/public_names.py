"""Print how many public names of the tables' modules are data or harmless, then those that are not the module's own."""

import importlib
import types
import warnings

from ckpt_core.codecs.pickle.verdicts.harmless_names import HARMLESS, INERT, INERT_MODULES, PURE_MODULES, RESTORED_DATA
from ckpt_core.codecs.pickle.verdicts.policy import canonical
from ckpt_core.codecs.pickle.verdicts.table import NameVerdict, judge

_NATIVE = {"torch", "torch._C._nn", "torch.functional", "_operator", "typing", "_weakrefset", "zoneinfo"}


def trusted_names():
    """The (module, name, value) of every name that is judged data or harmless in a module that can be imported here."""
    for family in [*INERT_MODULES.split(), *PURE_MODULES.split(), *HARMLESS, *INERT, *RESTORED_DATA]:
        try:
            module = importlib.import_module(family)
        except ImportError:
            continue
        for name, value in list(vars(module).items()):
            if judge(canonical(family, name), name) < NameVerdict.UNKNOWN:
                yield family, name, value


def is_own(value, family):
    """Whether a function is of the module that has its name, or of native code that the module shows as its own."""
    if not isinstance(value, types.FunctionType | types.BuiltinFunctionType):
        return not isinstance(value, types.ModuleType)
    return value.__module__ in {family, *_NATIVE} or value.__module__.partition(".")[0] == family


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    names = list(trusted_names())
    print(len(names))
    for family, name, value in names:
        if not is_own(value, family):
            print(f"{family}.{name}")
