"""Reads the files of a training state, by kind.

Those of one kind are joined into one component. A table of tensors with names like `state/0/exp_avg` beside JSON under
the same kind is one state that was flattened: its keys become the tree again, in which numbers are the numbers of
parameters.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from ckpt_core import Component, Presence, State, TensorRef, TensorTable
from ckpt_core.codecs import read_safetensors
from ckpt_core.layouts import NO_TENSORS, CheckpointBuilder, components_of, read_json_value
from ckpt_hf.step_folder.names import kind_of_name, split_name, without_kind


@dataclass(slots=True)
class _Flattened:
    """One state that lies in several files.

    They are tables of tensors, and JSON by the key that the file's name says.
    """

    paths: list[str] = field(default_factory=list)
    tables: list[TensorTable] = field(default_factory=list)
    values: dict[str, State] = field(default_factory=dict)


def add_state(builder: CheckpointBuilder) -> None:
    """Add every file of training state as a component.

    A folder in the listing names those of its files.
    """
    by_kind: dict[tuple[str, str], list[str]] = {}
    for path in builder.files.entries:
        folder, _, name = path.rpartition("/")
        kind = kind_of_name(name)
        if kind is not None:
            by_kind.setdefault((kind, folder), []).append(path)
    for (kind, name), paths in by_kind.items():
        _add(builder, kind, name, paths)


def _add(builder: CheckpointBuilder, kind: str, name: str, paths: list[str]) -> None:
    flattened = _Flattened()
    for path in paths:
        suffix = split_name(path)[1]
        if suffix in (".json", ".safetensors"):
            builder.tried(kind, path, lambda path=path: _read(builder, flattened, path), name=name)  # type: ignore[misc]
        else:
            builder.tried(kind, path, lambda path=path: _add_torch(builder, kind, name, path, len(paths)), name=name)  # type: ignore[misc]
    if flattened.paths:
        _add_flattened(builder, kind, name, flattened)


def _read(builder: CheckpointBuilder, flattened: _Flattened, path: str) -> None:
    if path.endswith(".json"):
        content = read_json_value(builder.files, path)
        key = without_kind(path.rpartition("/")[2])
        if key or not isinstance(content, dict):
            flattened.values[key or "state"] = content
        else:
            flattened.values.update(content)
    else:
        flattened.tables.append(read_safetensors(builder.files, path).tensors)
    flattened.paths.append(path)


def _add_flattened(builder: CheckpointBuilder, kind: str, name: str, flattened: _Flattened) -> None:
    table = TensorTable.join(flattened.tables) if flattened.tables else NO_TENSORS
    nested = any("/" in tensor for tensor in table)
    tree: State = {**_tree(table), **flattened.values} if nested else flattened.values or None
    where = flattened.paths[0]
    if kind == "optimizer" and not flattened.tables and "state" not in flattened.values:
        # The groups say how it steps, and nothing of where it stands.
        builder.components.append(Component(kind, table, tree, name))
        builder.role(kind, Presence.ABSENT, "optimizer_state.safetensors", name=name)
    else:
        builder.add(Component(kind, table, tree, name), where)


def _tree(table: TensorTable) -> dict[int | str, State]:
    root: dict[int | str, State] = {}
    for name in table:
        *keys, last = _keys(name)
        inner = root
        for key in keys:
            step = inner.setdefault(key, {})
            if not isinstance(step, dict):
                return {}  # a name that goes on behind another: not a tree that was flattened
            inner = step
        inner[last] = TensorRef(name)
    return root


def _keys(name: str) -> Iterator[int | str]:
    return (int(key) if key.isdecimal() and len(key) < 10 else key for key in name.split("/"))


def _add_torch(builder: CheckpointBuilder, kind: str, name: str, path: str, count: int) -> None:
    """Add a torch file of one kind.

    One of all state is split into the components that it holds.
    """
    file = builder.torch(path)
    assert file is not None
    inner = _labels(components_of(file.root, file.tensors)) if kind == "progress" else {}
    if len(inner) > 1:
        for component in inner.values():
            builder.add(component, path)
        return
    own = without_kind(path.rpartition("/")[2]) if count > 1 else ""
    label = ":".join(filter(None, (name, own)))
    builder.add(replace(Component(kind, file.tensors, file.root), name=label), path)


def _labels(components: tuple[Component, ...]) -> Mapping[str, Component]:
    return {component.label: component for component in components}
