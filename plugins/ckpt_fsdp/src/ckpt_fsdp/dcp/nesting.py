"""Nests a flat table of keys as the saved tree.

Torch flattens dicts and lists, and keeps the way to each leaf.

Source: torch, `torch/distributed/checkpoint/_nested_dict.py` and `_traverse.py` (set_element).
"""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from ckpt_core import State

Path = tuple[str | int, ...]
_WRAPPER = "app"
"""The key under which PyTorch's own recipes put an object that gathers model and optimizer."""


class _Node(dict[Any, Any]):
    """A dict that is being built.

    `listed` where its keys are the indexes of a list.
    """

    __slots__ = ("listed",)

    def __init__(self, listed: bool) -> None:
        self.listed = listed


def paths_of(names: Iterable[str], planner_data: Mapping[str, Path] | None) -> tuple[dict[str, Path], str]:
    """Return the way to each flat key, and the wrapper.

    A key without a way is one of its own.

    Where all stand in the wrapper, it is left out of the ways, and what the keys start with for it is given too.
    """
    known = planner_data or {}
    paths = {name: known.get(name, (name,)) for name in names}
    wrapper = ""
    while paths and all(path[0] == _WRAPPER and len(path) > 1 for path in paths.values()):
        paths = {name: path[1:] for name, path in paths.items()}
        wrapper += f"{_WRAPPER}."
    return paths, wrapper


def nest(
    leaves: Mapping[str, State],
    paths: Mapping[str, Path],
    *,
    numbered: Iterable[Path] = (),
    empty: Iterable[Path] = (),
) -> State:
    """Return the tree of leaves.

    The later of two leaves whose ways cross, as torch's never do, gets a key of its own at the top.

    Args:
        leaves: By flat key.
        paths: The way to each.
        numbered: Ways to the dicts whose keys are numbers.
        empty: Ways to dicts that are empty.
    """
    root = _Node(False)
    for name, value in leaves.items():
        if not _put(root, paths[name], value):
            root[_free(root, name)] = value
    for path in empty:
        _put(root, path, {})
    for path in sorted(numbered, key=len, reverse=True):
        _number(root, path)
    return _as_state(root)


def _free(root: _Node, name: str) -> str:
    while name in root:
        name += "#"
    return name


def _number(root: _Node, path: Path) -> None:
    """Turn the keys of a dict to numbers.

    The dict is at the end of a way, and all of its keys must be spelled as numbers.
    """
    node: Any = root
    for part in path:
        node = node.get(part) if type(node) is _Node else None
    if type(node) is _Node and not node.listed and all(_is_number(key) for key in node):
        content = [(int(key), value) for key, value in node.items()]
        node.clear()
        node.update(content)


def _is_number(key: str) -> bool:
    return key.removeprefix("-").isdecimal() and str(int(key)) == key


def _put(root: _Node, path: Path, value: State) -> bool:
    node = root
    for part, following in pairwise(path):
        below = node.get(part)
        if below is None:
            below = node[part] = _Node(type(following) is int)
        elif type(below) is not _Node:
            return False
        node = below
    if path[-1] in node:
        return False
    node[path[-1]] = value
    return True


def _as_state(node: _Node) -> State:
    content = {key: _as_state(value) if type(value) is _Node else value for key, value in node.items()}
    if node.listed and sorted(content, key=str) == sorted(range(len(content)), key=str):
        return [content[index] for index in range(len(content))]
    return content
