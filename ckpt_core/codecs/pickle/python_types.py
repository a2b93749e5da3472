"""Stand-ins for the constructors of Python's own types.

Used when a pickle is read. Source: CPython, `Lib/pickle.py` and `Lib/copyreg.py`; older protocols spell bytes and
objects as calls of these.
"""

from typing import Any

from ckpt_core.codecs.pickle.records import AttributedDict, Budget, SafeDict
from ckpt_core.codecs.pickle.verdicts.called_values import called_factories
from ckpt_core.codecs.pickle.verdicts.policy import Judged

# What a pair of a dict takes in memory, and in time what copying so many bytes takes.
_BYTES_PER_PAIR = 128


def python_factories(budget: Budget, judged: Judged) -> dict[str, Any]:
    """Return the stand-ins for Python's constructors, by full name.

    `judged` hears of calls that matter.
    """

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
        **called_factories(budget, judged),
        "builtins.bytes": make_bytes,
        "builtins.bytearray": make_bytes,
    }


def _fill(made: SafeDict, pairs: Any, budget: Budget) -> None:
    if type(pairs) not in (tuple, list) and not isinstance(pairs, SafeDict):
        raise TypeError("a dict made of something that has no pairs")
    budget.copy(_BYTES_PER_PAIR * len(pairs))
    for key, value in pairs.items() if isinstance(pairs, SafeDict) else pairs:
        made[key] = value
