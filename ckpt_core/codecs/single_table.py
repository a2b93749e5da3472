"""Checks what a format can take of a checkpoint.

Some take tensors alone, none an object of a class that is not known.
"""

from collections.abc import Sequence

from ckpt_core.arguments import argument
from ckpt_core.errors import UnsupportedFormatError, UsageError
from ckpt_core.reading.objects import how_to_leave_out, objects_of, said_of, without
from ckpt_core.schema.access import Checkpoint
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.text import printable


def only_tensors(checkpoint: Checkpoint, format: str) -> Component:
    """Return the only component of a checkpoint of tensors.

    It has no plain state.

    Raises:
        UsageError: There are others: one is to be chosen.
        UnsupportedFormatError: There is plain state: the format would lose it.
    """
    components = checkpoint.manifest.components
    labels = ", ".join(printable(component.label) for component in components)
    if len(components) != 1:
        reason = f"{format} holds the tensors of one component, this checkpoint has {labels or 'none'}"
        if not components:
            raise UnsupportedFormatError(reason)
        raise UsageError(f"{reason}; choose one with {argument('components')}")
    if components[0].state is not None:
        raise plain_state(components[0], format)
    return components[0]


def plain_state(component: Component, format: str) -> UnsupportedFormatError:
    """Return the error for plain state that a format loses.

    The format holds tensors only; the error says what to do about it.
    """
    reason = f"{format} holds tensors only, and this {printable(component.label)} has plain state"
    others = objects_of(component.state)
    bare = others and without(component.state, lambda path: True) is None
    options = how_to_leave_out([component], plain=True) if bare else None
    if options is None:
        return UnsupportedFormatError(f"{reason}; write it as torch")
    shown = said_of([component]) or ", ".join(printable(name, 80) for name in list(others)[:3])
    return UnsupportedFormatError(f"{reason}: {shown}; leave it out with {options}")


def refuse_objects(components: Sequence[Component]) -> None:
    """Raise UnsupportedFormatError for unwritable objects and tensors.

    No writer can make them again.
    """
    shown = said_of(components)
    if not shown:
        return
    options = how_to_leave_out(components)
    cure = f"leave it out with {options}" if options else "load it with what wrote it, and save its tensors"
    raise UnsupportedFormatError(f"{shown} cannot be written: not of a kind or class that is known here; {cure}")
