"""Views that show a part of a checkpoint.

Some components, some tensors, other names, other types; nothing is copied.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from ckpt_core.arguments import marked
from ckpt_core.errors import CkptError, UsageError
from ckpt_core.reading.casting.conversions import Cast, check_castable
from ckpt_core.reading.casting.rules import Uncast, cast_types
from ckpt_core.reading.objects import matches, objects_of, within, without
from ckpt_core.schema.access import Checkpoint, Files
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.plans import TensorKey
from ckpt_core.schema.state import State, TensorRef, mapped
from ckpt_core.schema.tensors import Box, TensorEntry, TensorInfo, TensorTable
from ckpt_core.schema.text import printable


class ViewCheckpoint(Checkpoint):
    """A view of another checkpoint.

    Args:
        base: What is seen.
        components: The components to show, each with the base's label and its tensors' new names by old name.
        types: The type to show a tensor in, by its component's label and its new name; its own where there is none.
        uncast: What kept its type although it was asked to be cast.
    """

    def __init__(
        self,
        base: Checkpoint,
        components: Sequence[tuple[Component, Mapping[str, str]]],
        *,
        types: Mapping[str, Mapping[str, DType]] = MappingProxyType({}),
        uncast: tuple[Uncast, ...] = (),
    ) -> None:
        self._base = base
        self.uncast = uncast
        self._old = {component.label: {new: old for old, new in names.items()} for component, names in components}
        self.location, self.match = base.location, base.match
        shown = tuple(self._shown(component, names, types.get(component.label, {})) for component, names in components)
        self.manifest = replace(base.manifest, components=shown)

    def _shown(self, component: Component, names: Mapping[str, str], types: Mapping[str, DType]) -> Component:
        table = component.tensors.renamed(names)
        infos: dict[str, TensorInfo] = {}
        for name, info in table.infos():
            dtype = types.get(name, info.dtype)
            same = dtype is info.dtype
            infos[name] = info if same else TensorInfo(dtype, info.shape, None, 0, info.alias_of)

        def entry(row: tuple[str, TensorInfo]) -> TensorEntry:
            own = table[row[0]]
            return own if own.dtype is row[1].dtype else replace(own, dtype=row[1].dtype, chunks=())

        rows = {name: (name, info) for name, info in infos.items()}
        shown = TensorTable(rows, entry=entry, info=lambda row: row[1])
        return replace(component, tensors=shown, state=_renamed_refs(component.state, names))

    def read(self, component: str, name: str, *, box: Box | None = None, out: memoryview | None = None) -> memoryview:
        old, entry, own = self._places(component, name)
        if entry.dtype is own.dtype:
            return self._base.read(component, old, box=box, out=out)
        result = _converted(name, self._base.read(component, old, box=box), Cast(own.dtype, entry.dtype))
        if out is None:
            return result
        out[:] = result
        return out

    def stream(self, component: str, name: str) -> Iterator[tuple[memoryview, memoryview]]:
        old, entry, own = self._places(component, name)
        if entry.dtype is own.dtype:
            yield from self._base.stream(component, old)
            return
        cast = Cast(own.dtype, entry.dtype)
        for read, data in self._base.stream(component, old):
            yield read, _converted(name, data, cast)

    def origin(self, component: str, name: str) -> TensorEntry:
        return self._base.origin(component, self._old[component][name])

    def origin_key(self, component: str, name: str) -> TensorKey:
        return self._base.origin_key(component, self._old[component][name])

    def operations(self, component: str, name: str) -> tuple[str, ...]:
        old, entry, own = self._places(component, name)
        cast = () if entry.dtype is own.dtype else (f"cast {own.dtype.code} to {entry.dtype.code}",)
        return (*self._base.operations(component, old), *cast)

    def cause(self, component: str, name: str) -> str | None:
        return self._base.cause(component, self._old[component].get(name, name))

    def check_unchanged(self, *, failed: bool = False, suspects: Iterable[str] = ()) -> None:
        self._base.check_unchanged(failed=failed, suspects=suspects)

    def prove(self, component: str, name: str) -> None:
        self._base.prove(component, self._old[component][name])

    def finish(self) -> None:
        self._base.finish()

    def checked_by(self) -> Mapping[str, str]:
        return self._base.checked_by()

    def asset_files(self) -> Files:
        return self._base.asset_files()

    def identity(self) -> str:
        return self._base.identity()

    def _places(self, component: str, name: str) -> tuple[str, TensorEntry, TensorEntry]:
        old = self._old[component][name]
        return old, self.component(component).tensors[name], self._base.component(component).tensors[old]


def _converted(name: str, data: memoryview, cast: Cast) -> memoryview:
    try:
        return cast(data)
    except CkptError as error:
        raise type(error)(f"{printable(name)}: {marked(error.message)}", code=error.code, tensor=name) from None


def select(
    checkpoint: Checkpoint,
    *,
    components: Sequence[str] = (),
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    rename: Sequence[tuple[str, str]] = (),
    dtypes: Sequence[tuple[str, DType]] = (),
) -> ViewCheckpoint:
    """Return a view of a part of a checkpoint.

    Args:
        checkpoint: What is seen.
        components: Labels to keep; none for all.
        include: Globs of the names to keep, of tensors and of what is none (`objects_of` says what that is); none for
            all. The tensors that an object is made of go with it.
        exclude: Globs of such names to leave out.
        rename: Pairs (old prefix, new prefix), the first that fits is used.
        dtypes: Pairs (glob of new names, type): the last that fits says what a floating tensor of 16 bits and more is
            cast to; which tensors a glob is of, `casting.rules` says.

    Raises:
        UsageError: A component is not there, nothing is left, two tensors would have one name, or a type cannot be
            cast to.
    """
    for _, dtype in dtypes:
        check_castable(dtype)
    labels = components or [component.label for component in checkpoint.manifest.components]
    chosen = [checkpoint.component(label) for label in labels]
    shown = [
        (_without_objects(component, include, exclude), _names(component, include, exclude, rename))
        for component in chosen
    ]
    if not any(names for _, names in shown) and any(len(component.tensors) for component in chosen):
        raise UsageError(f"{checkpoint.location}: no tensor is left by the include and exclude patterns")
    types: dict[str, Mapping[str, DType]] = {}
    uncast: list[Uncast] = []
    for component, names in shown:
        new = replace(component, tensors=component.tensors.renamed(names))
        types[component.label], kept = cast_types(new, dtypes)
        uncast += kept
    return ViewCheckpoint(checkpoint, shown, types=types, uncast=tuple(uncast))


def _names(
    component: Component, include: Sequence[str], exclude: Sequence[str], rename: Sequence[tuple[str, str]]
) -> dict[str, str]:
    names: dict[str, str] = {}
    taken: dict[str, str] = {}
    objects = objects_of(component.state)
    for name in component.tensors:
        owner = within(name, objects) if objects else None
        every = (name,) if owner is None else (name, owner)
        if include and not any(matches(one, include) for one in every):
            continue
        if any(matches(one, exclude) for one in every):
            continue
        new = next((to + name[len(of) :] for of, to in rename if name.startswith(of)), name)
        if new in taken:
            raise UsageError(f"{printable(taken[new])} and {printable(name)} would both be named {printable(new)}")
        taken[new] = name
        names[name] = new
    return names


def _without_objects(component: Component, include: Sequence[str], exclude: Sequence[str]) -> Component:
    """Return the component without the objects not chosen.

    An object that is the whole of it has no name to choose.
    """
    if component.state is None or not (include or exclude):
        return component

    def left(path: str) -> bool:
        chosen = not include or (bool(path) and matches(path, include))
        return not chosen or (bool(path) and matches(path, exclude))

    return replace(component, state=without(component.state, left))


def _renamed_refs(state: State, names: Mapping[str, str]) -> State:
    """Return the state with its tensors' new names.

    Those left out are left out of dicts too.
    """

    def renamed(leaf: State) -> State:
        if not isinstance(leaf, TensorRef):
            return leaf
        return TensorRef(names[leaf.name]) if leaf.name in names else None

    return mapped(state, renamed, keep=lambda value: not isinstance(value, TensorRef) or value.name in names)
