"""What stands for the constructors of Python's own types when a pickle is read.

Source: CPython, `Lib/pickle.py` and `Lib/copyreg.py`; older protocols spell bytes and objects as calls of these.
"""

from typing import Any

from ckpt_core.codecs.pickle_policy import Verdict, judge, refusal
from ckpt_core.codecs.pickle_records import AttributedDict, Budget, Recorded, SafeDict, recorded_class

# What a pair of a dict takes in memory, and in time what copying so many bytes takes.
_BYTES_PER_PAIR = 128


class ClassInClass:
    """`getattr(Outer, "Inner")`, as protocols below 4 name a class in a class; whatever else it is for is refused."""

    __slots__ = ("_budget", "_path")

    def __init__(self, budget: Budget, path: str) -> None:
        self._budget = budget
        self._path = path

    def __call__(self, outer: Any, name: Any) -> type[Recorded]:
        if not (isinstance(outer, type) and issubclass(outer, Recorded) and type(name) is str and "." not in name):
            raise refusal(self._path, "builtins.getattr")
        full_name = f"{outer.class_name}.{name}"
        if judge(full_name, name) is not Verdict.BENIGN:
            raise refusal(self._path, full_name)
        return recorded_class(full_name, self._budget)


def python_factories(budget: Budget, path: str) -> dict[str, Any]:
    """What stands for the constructors of Python's own types, by full name; `path` is the file, for refusals."""

    def ordered_dict(pairs: Any = ()) -> AttributedDict:
        made = AttributedDict(budget)
        if pairs:
            _fill(made, pairs, budget)
        return made

    def default_dict(factory: Any = None, pairs: Any = ()) -> SafeDict:
        made = SafeDict(budget)
        _fill(made, pairs, budget)
        return made

    def encode(text: str, encoding: str = "latin1") -> bytes:
        budget.copy(len(text))
        if encoding not in ("latin1", "latin-1", "utf-8", "utf8"):
            raise ValueError("bytes in an encoding that pickle does not use")
        return text.encode(encoding)

    def make_bytes(content: Any = b"", encoding: str = "latin1") -> bytes:
        if isinstance(content, str):
            return encode(content, encoding)
        if not isinstance(content, bytes | bytearray):
            raise TypeError("bytes made of something else")
        budget.copy(len(content))
        return bytes(content)

    return {
        "collections.OrderedDict": ordered_dict,
        "collections.defaultdict": default_dict,
        "_codecs.encode": encode,
        "builtins.getattr": ClassInClass(budget, path),
        "builtins.bytes": make_bytes,
        "builtins.bytearray": make_bytes,
        "copyreg._reconstructor": _reconstructor,
    }


def _fill(made: SafeDict, pairs: Any, budget: Budget) -> None:
    if type(pairs) not in (tuple, list) and not isinstance(pairs, SafeDict):
        raise TypeError("a dict made of something that has no pairs")
    budget.copy(_BYTES_PER_PAIR * len(pairs))
    for key, value in pairs.items() if isinstance(pairs, SafeDict) else pairs:
        made[key] = value


def _reconstructor(kind: Any, base: Any = None, state: Any = None) -> Recorded:
    if not (isinstance(kind, type) and issubclass(kind, Recorded)):
        raise TypeError("an object of no class")
    return kind() if state is None else kind(state)
