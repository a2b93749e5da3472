"""Extraction of the tensors in a dangerous pickle.

It happens only where somebody asked for it, and nothing in the pickle is called. What a dangerous name is called with,
or gives, is not taken: a call could have changed it.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ckpt_core.codecs.pickle.records import Recorded

_asked: ContextVar[bool] = ContextVar("ckpt_extracting", default=False)


@contextmanager
def extracting() -> Iterator[None]:
    """Read dangerous pickles within the block, instead of refusing them."""
    token = _asked.set(True)
    try:
        yield
    finally:
        _asked.reset(token)


def is_extracting() -> bool:
    """Return True if dangerous pickles are read for their tensors."""
    return _asked.get()


class Dangerous(Recorded):
    """A stand-in for a dangerous name, or its result.

    It can be called on, and holds what it was given.
    """

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Recorded:
        return type(self)(self, *args, **kwargs)


def dangerous_class(full_name: str, made: list[Recorded]) -> type[Recorded]:
    """Return the class that stands for a dangerous name.

    What is made of it is put into `made`.
    """

    class Named(Dangerous):
        __slots__ = ()

        class_name = full_name

        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            record = super().__new__(cls, *args, **kwargs)
            made.append(record)
            return record

    return Named


def reachable(records: Iterable[Recorded]) -> dict[int, Any]:
    """Return everything reachable from these records, by identity.

    A call of them could have changed it.
    """
    reached: dict[int, Any] = {}
    left: list[Any] = list(records)
    while left:
        value = left.pop()
        if id(value) in reached or isinstance(value, str | bytes | int | float | None):
            continue
        reached[id(value)] = value
        left.extend(_inner(value))
    return reached


def _inner(value: Any) -> Iterator[Any]:
    if isinstance(value, Recorded):
        yield from (value.args, value.kwargs, value.state, value.items, value.pairs)
    elif isinstance(value, dict):
        yield from value.keys()
        yield from value.values()
        yield getattr(value, "attributes", None)
    elif isinstance(value, list | tuple):
        yield from value
