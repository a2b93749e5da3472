"""Extraction: a dangerous pickle read for its tensors, where somebody asked for that; nothing in it is called.

What a dangerous name is called with, or gives, is not taken: a call could have changed it.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ckpt_core.codecs.pickle.records import Recorded

_asked: ContextVar[bool] = ContextVar("ckpt_extracting", default=False)


@contextmanager
def extracting() -> Iterator[None]:
    """Read dangerous pickles within, in place of refusing them."""
    token = _asked.set(True)
    try:
        yield
    finally:
        _asked.reset(token)


def is_extracting() -> bool:
    """Whether dangerous pickles are read for their tensors."""
    return _asked.get()


class Dangerous(Recorded):
    """What a dangerous name stands for, or a call of it gives: it can be called on, and holds what it was given."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Recorded:
        return type(self)(self, *args, **kwargs)


def dangerous_class(full_name: str, made: list[Recorded]) -> type[Recorded]:
    """The class that stands for a dangerous name; what is made of it is put into `made`."""

    class Named(Dangerous):
        __slots__ = ()

        class_name = full_name

        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            record = super().__new__(cls, *args, **kwargs)
            made.append(record)
            return record

    return Named


def reachable(records: Iterable[Recorded]) -> dict[int, Any]:
    """Everything that hangs on these records, by identity: what a call of them could have changed."""
    found: dict[int, Any] = {}
    left: list[Any] = list(records)
    while left:
        value = left.pop()
        if id(value) in found or isinstance(value, str | bytes | int | float | None):
            continue
        found[id(value)] = value
        left.extend(_inner(value))
    return found


def _inner(value: Any) -> Iterator[Any]:
    if isinstance(value, Recorded):
        yield from (value.args, value.kwargs, value.state, value.items, value.pairs)
    elif isinstance(value, dict):
        yield from value.keys()
        yield from value.values()
        yield getattr(value, "attributes", None)
    elif isinstance(value, list | tuple):
        yield from value
