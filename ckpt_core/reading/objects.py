"""Finds objects that are no plain tensors in components.

They have names by which they are chosen and left out.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from ckpt_core.arguments import argument
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.state import Opaque, State, TensorRef
from ckpt_core.schema.text import printable

_MOST_SHOWN = 3


def objects_of(state: State) -> dict[str, State]:
    """Return what is no plain tensor, by dotted path.

    The path is "" where the state itself is an object. Those are the objects of classes that are not known here and the
    tensors that are not plain; in a state dict also every plain value that stands beside its tensors.
    """
    if is_state_dict(state):
        assert isinstance(state, dict)
        return {str(key): value for key, value in state.items() if not isinstance(value, TensorRef)}
    return dict(_opaque(state, ""))


def is_state_dict(state: State) -> bool:
    """Return True for a dict that holds tensors directly.

    It nests nothing.
    """
    return (
        isinstance(state, dict)
        and all(not isinstance(value, dict | list | tuple) for value in state.values())
        and any(isinstance(value, TensorRef) or _is_tensor(value) for value in state.values())
    )


def within(name: str, objects: Mapping[str, State]) -> str | None:
    """Return the object that a tensor is a part of.

    None where it is part of none. That of a whole component has no name.
    """
    parts = name.split(".")
    return next((path for end in range(len(parts), 0, -1) if (path := ".".join(parts[:end])) in objects), None)


def without(state: State, left: Callable[[str], bool]) -> State:
    """Return the state without the chosen objects.

    `left` chooses them by path; None where nothing but tensors under their names remains.
    """
    gone = {path for path in objects_of(state) if left(path)}
    if not gone:
        return state
    kept = None if "" in gone else _without(state, "", gone)
    return None if isinstance(kept, dict) and all(isinstance(v, TensorRef) for v in kept.values()) else kept


def matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def said_of(components: Sequence[Component]) -> str:
    """Return the objects of components in words.

    An example is `q, sparse COO; s, an object of Lock and 2 more`.
    """
    return _in_words([(path or one.label, value) for one in components for path, value in _unknown(one)])


def _in_words(objects: Sequence[tuple[str, State]]) -> str:
    more = f" and {len(objects) - _MOST_SHOWN} more" if len(objects) > _MOST_SHOWN else ""
    return "; ".join(f"{printable(path, 80)}, {_what(value)}" for path, value in objects[:_MOST_SHOWN]) + more


def left_out(of: Component, kept: Component) -> str:
    """Return the objects that were left out, in words.

    "" where none is lacking in what was kept of the component.
    """
    here = objects_of(kept.state)
    return _in_words([(path or of.label, value) for path, value in objects_of(of.state).items() if path not in here])


def how_to_leave_out(components: Sequence[Component], *, plain: bool = False) -> str | None:
    """Return the options that leave these components' objects out.

    They are options of a conversion, and leave out no plain tensor; None where there are none.

    Args:
        components: All that are to be written.
        plain: Whether plain values beside the tensors of a state dict are to go, too.
    """
    paths = [path for component in components for path, _ in (_all(component) if plain else _unknown(component))]
    if "" in paths:
        if len(components) == 1 and len(components[0].tensors):
            return argument("include", ["*"])
        rest = [c.label for c in components if not any(path == "" for path, _ in _unknown(c))]
        return argument("components", [printable(label) for label in rest]) if rest else None
    sound = [name for component in components for name in component.tensors if not within(name, dict.fromkeys(paths))]
    patterns = dict.fromkeys(_pattern(path, sound) for path in paths)
    return argument("exclude", [printable(pattern) for pattern in patterns]) if patterns else None


def _pattern(path: str, sound: Sequence[str]) -> str:
    """Return a glob of all similarly named objects.

    Other numbers aside; the name itself where the glob fits a plain tensor, too.
    """
    exact = re.sub(r"[*?[]", r"[\g<0>]", path)
    glob = re.sub(r"\d+|[*?[]", lambda match: "*" if match[0].isdigit() else f"[{match[0]}]", path)
    return exact if any(fnmatchcase(name, glob) for name in sound) else glob


def _all(component: Component) -> Iterator[tuple[str, State]]:
    yield from objects_of(component.state).items()


def _unknown(component: Component) -> Iterator[tuple[str, State]]:
    yield from _opaque(component.state, "")


def _opaque(state: State, path: str) -> Iterator[tuple[str, State]]:
    """Yield the outermost objects of a tree."""
    if isinstance(state, Opaque):
        yield path, state
    elif isinstance(state, dict | list | tuple):
        for key, item in state.items() if isinstance(state, dict) else enumerate(state):
            yield from _opaque(item, f"{path}.{key}" if path else str(key))


def _without(state: State, path: str, gone: set[str]) -> State:
    below = f"{path}." if path else ""
    if isinstance(state, dict):
        kept = {key: item for key, item in state.items() if below + str(key) not in gone}
        return {key: _without(item, below + str(key), gone) for key, item in kept.items()}
    if isinstance(state, list | tuple):
        items = [
            _without(item, f"{below}{index}", gone) for index, item in enumerate(state) if f"{below}{index}" not in gone
        ]
        return items if isinstance(state, list) else tuple(items)
    return state


def _is_tensor(value: State) -> bool:
    return isinstance(value, Opaque) and bool(value.tensor)


def _what(value: State) -> str:
    if isinstance(value, Opaque):
        return printable(value.tensor or f"an object of {value.class_name}", 120)
    return f"a {type(value).__name__}"
