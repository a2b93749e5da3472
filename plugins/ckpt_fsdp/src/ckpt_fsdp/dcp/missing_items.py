"""Leaves out values whose shard is missing or too short.

They are said, so that the rest can be looked at.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from ckpt_core import ByteRange, Component, Files, Finding, Severity, State, printable

_SHOWN = 3


class Lost(str):
    """A placeholder for a lost value, under its flat key.

    It stands in the tree until that was split into components.
    """

    __slots__ = ()


def is_there(files: Files, stored: ByteRange) -> bool:
    """Return True if a file has the bytes of a range."""
    return stored.path in files.entries and stored.end <= files.size(stored.path)


def owners(components: Iterable[Component]) -> dict[str, str]:
    """Return the component of each lost value.

    Its label, by the value's flat key.
    """
    return {name: component.label for component in components for name in _lost_in(component.state)}


def without_lost(component: Component) -> Component:
    """Return a component without what is lost of its state.

    Dicts and lists of which nothing is left are lost with it.
    """
    state = _kept(component.state)
    return replace(component, state=None if isinstance(state, Lost) else state)


def findings_of(files: Files, lost: Mapping[str, ByteRange], owner: Mapping[str, str]) -> Iterator[Finding]:
    """Yield DC013 for each component and file with lost values.

    Args:
        files: The listing.
        lost: Where the lost values should be, by flat key.
        owner: See `owners`.
    """
    together: dict[tuple[str, str], list[str]] = {}
    for name, stored in lost.items():
        together.setdefault((stored.path, owner[name]), []).append(name)
    for (path, label), names in sorted(together.items()):
        shown = ", ".join(printable(name, 80) for name in names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
        gone = "is missing" if path not in files.entries else f"has only {files.size(path)} bytes"
        count = "a value that is no tensor is" if len(names) == 1 else f"{len(names)} values that are no tensors are"
        message = f"{printable(path)}: {count} stored in this file ({shown}), and the file {gone}"
        hint = "restore the file from where the checkpoint was copied"
        yield Finding("DC013", Severity.ERROR, message, path, hint=hint, component=label)


def _lost_in(value: State) -> Iterator[str]:
    if isinstance(value, Lost):
        yield str(value)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _lost_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from _lost_in(item)


def _kept(value: State) -> State:
    if isinstance(value, dict) and value:
        kept = {key: item for key, item in ((key, _kept(item)) for key, item in value.items()) if not _is_lost(item)}
        return kept or _first_lost(value)
    if isinstance(value, list) and value:
        left = {index: item for index, item in enumerate(map(_kept, value)) if not _is_lost(item)}
        if len(left) == len(value):
            return list(left.values())
        return dict(left) or _first_lost(value)
    return value


def _is_lost(value: State) -> bool:
    return isinstance(value, Lost)


def _first_lost(value: State) -> Lost:
    return Lost(next(_lost_in(value)))
