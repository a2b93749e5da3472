"""Builds values from a pickle without importing or calling anything.

The C unpickler executes the stream, but every name it looks up is answered from a table of inert constructors of ours,
or with a recorder: that is the boundary. It is safe to run because `scan` has bounded every length and memo index
before, and has turned dicts and sets into requests that are answered here.
"""

import pickle
from dataclasses import dataclass
from io import BytesIO
from types import FunctionType
from typing import Any

from ckpt_core import knobs
from ckpt_core.codecs.pickle.numpy_types import numpy_factories
from ckpt_core.codecs.pickle.python_types import python_factories
from ckpt_core.codecs.pickle.records import Budget, FrozenSetRecord, SafeDict, SetRecord, StorageRecord
from ckpt_core.codecs.pickle.scan import MAKE_DICT, MAKE_SET, Scan
from ckpt_core.codecs.pickle.torch_types import storage_record, torch_factories
from ckpt_core.codecs.pickle.verdicts.called_values import Callee, refuse_state, restored_class
from ckpt_core.codecs.pickle.verdicts.extraction import dangerous_class
from ckpt_core.codecs.pickle.verdicts.policy import Judged, canonical
from ckpt_core.codecs.pickle.verdicts.table import NameVerdict
from ckpt_core.errors import BudgetError, CkptError, CorruptError
from ckpt_core.schema.text import printable

# A class is made for each name: a checkpoint names a few dozen.
_MOST_NAMES = 10_000


@dataclass(frozen=True, slots=True)
class Built:
    """The content of a stream, in records.

    `state.state_of` makes plain state of them.

    Attributes:
        value: The object.
        globals: Every name that was looked up, sorted.
        judged: The verdicts of them.
        storages: Every storage that was named, by key.
    """

    value: Any
    globals: tuple[str, ...]
    judged: Judged
    storages: dict[str, StorageRecord]


def build(scan: Scan, *, path: str) -> Built:
    """Build the value of a scanned stream.

    Raises:
        UnsafeContentError: PK003, it asks for a function that would run code.
        CorruptError: PK001, its opcodes do not fit each other, or a value breaks its own rules.
        BudgetError: PK002, it takes more memory than there is.
    """
    unpickler = _Unpickler(scan.stream, path)
    try:
        value = unpickler.load()
        unpickler.judge_uncalled()
    except CkptError:
        raise
    except (MemoryError, OverflowError) as error:
        raise BudgetError(
            f"{printable(path)}: its pickle takes more memory than is allowed ({_reason(error)}); get the file again",
            code="PK002",
            path=path,
        ) from error
    except _BROKEN as error:
        raise CorruptError(
            f"{printable(path)}: not a sound pickle: {_reason(error)}; get the file again", code="PK001", path=path
        ) from error
    return Built(value, tuple(sorted(unpickler.looked_up)), unpickler.judged, unpickler.storages)


# Everything that the C unpickler and our constructors raise for a stream whose opcodes make no sense together.
_BROKEN = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    BufferError,
    EOFError,
    ImportError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


class _Unpickler(pickle.Unpickler):
    """Answers names from our tables.

    It never calls the base class's `find_class`.
    """

    def __init__(self, stream: bytes, path: str) -> None:
        # Keys of Python 2 are text; its arrays are bytes, which surrogates carry unchanged.
        super().__init__(BytesIO(stream), encoding="utf-8", errors="surrogateescape")
        self.path = path
        self.looked_up: set[str] = set()
        self.judged = Judged(path)
        self.storages: dict[str, StorageRecord] = {}
        self._budget = Budget(len(stream) * 4 + knobs.header_limit())
        self._known = self._constructors()

    def _constructors(self) -> dict[str, Any]:
        budget = self._budget
        constructors = {**torch_factories(budget), **numpy_factories(budget), **python_factories(budget, self.judged)}
        for made in constructors.values():
            if isinstance(made, FunctionType):
                made.__setstate__ = refuse_state  # type: ignore[attr-defined]  # looked up where a state is set
        return constructors

    def find_class(self, module: str, name: str, /) -> Any:
        full_name = canonical(module, name)
        known = self._known.get(full_name)
        if full_name not in self.looked_up:
            self.looked_up.add(full_name)
            if known is None:  # of what is built here the arguments decide
                verdict = self.judged.name(full_name, name)
                if verdict is NameVerdict.DANGEROUS:
                    known = self._known[full_name] = dangerous_class(full_name, self.judged.made)
            if len(self.looked_up) > _MOST_NAMES:
                raise MemoryError(f"more than {_MOST_NAMES} different names")
        if known is None:
            known = self._known[full_name] = restored_class(full_name, self._budget, self.judged)
        return known

    def judge_uncalled(self) -> None:
        """Judge functions that were named and never called.

        Their names alone decide, where the arguments would have decided.
        """
        for name in self.looked_up:
            known = self._known[name]
            if isinstance(known, Callee) and not known.called:
                self.judged.name(name)

    def persistent_load(self, pid: Any, /) -> Any:
        if pid is MAKE_DICT:
            return SafeDict(self._budget)
        if pid is MAKE_SET:
            return SetRecord()
        if type(pid) is not tuple:
            raise TypeError("a persistent id that is no tuple")
        if len(pid) == 1:
            members = FrozenSetRecord()
            members.items = pid[0] if type(pid[0]) is tuple else ()
            return members
        record = storage_record(pid)
        if type(record) is StorageRecord:
            first = self.storages.setdefault(record.key, record)
            if first.numel * first.itemsize != record.numel * record.itemsize:
                raise ValueError(f"storage {record.key} is said to have two sizes")
        return record


def _reason(error: Exception) -> str:
    return printable(str(error) or type(error).__name__, 160)
