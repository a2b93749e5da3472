"""Joins the pieces that several ranks hold to one checkpoint.

Who has which boxes is told to rank 0 once, and each box has one owner, which every rank learns of those that it holds:
no other rank needs to know of all.

Components that only some ranks have, such as each rank's random state under a name of its own, are told whole. Those
that several have must be the same but for the boxes. A box that several ranks hold is a replica: one of them writes it,
the lowest where it is small, so that what differs from rank to rank against all rules is taken from one; else whichever
has least to write.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import xxhash

from ckpt_core.errors import CorruptError, UsageError
from ckpt_core.layouts.in_memory import LiveCheckpoint
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.formats import Confidence, FormatMatch
from ckpt_core.schema.locations import Location, LocationKind
from ckpt_core.schema.manifests import Component, Manifest, in_order
from ckpt_core.schema.state import differing_paths, from_json, to_json
from ckpt_core.schema.tensors import Box, ByteRange, Chunk, Encoding, TensorEntry, TensorTable
from ckpt_core.schema.text import printable
from ckpt_core.storage.ranks.pieces import PiecedCheckpoint
from ckpt_core.storage.ranks.ranks import Ranks

_SMALL = 1 << 20
"""Bytes up to which a replica is written by the lowest rank that holds it."""

_MEMORY = Encoding("memory")

_Key = tuple[str, str]


class _Said(NamedTuple):
    """The boxes that a rank holds of each tensor.

    `parts` describes the components that not all ranks have.
    """

    boxes: Mapping[str, Mapping[str, Sequence[Any]]]
    parts: Mapping[str, Any]


def joined(live: LiveCheckpoint, ranks: Ranks) -> "JoinedCheckpoint":
    """Return the checkpoint of all ranks' pieces.

    Every rank calls this with its own. Rank 0 knows all boxes then, and any other those that it holds.

    Raises:
        CorruptError: Two ranks have different tensors or values under one name.
    """
    digests = ranks.exchange({part.label: _digest(part) for part in live.manifest.components})
    _refuse_differing(live, digests, ranks)
    parts = [part for part in live.manifest.components if any(part.label not in one for one in digests)]
    boxes = {part.label: dict(_boxes(part)) for part in live.manifest.components}
    own = _Said(boxes, {part.label: _described(part) for part in parts})
    components = {part.label: part for part in live.manifest.components}
    told = ranks.to_leader(list(own))
    if told is None:
        owners = _owners_of_own(live, ranks.dealt(None), ranks.rank)
        return JoinedCheckpoint(live, components, owners, _ties([own]), ranks.rank)
    said = [_Said(*one) for one in told]
    for one in said:
        for label, described in one.parts.items():
            components.setdefault(label, _component(described))
    owners = _owners(components, said)
    ranks.dealt([_elsewhere(one, owners, rank) for rank, one in enumerate(said)])
    return JoinedCheckpoint(live, components, owners, _ties(said), ranks.rank)


class JoinedCheckpoint(PiecedCheckpoint):
    """The tensors of all ranks, in the boxes known here.

    Args:
        live: What this rank holds.
        components: Of all ranks, by label.
        owners: The owner of each box.
        ties: What a tensor is another name of.
        rank: This rank.
    """

    def __init__(
        self,
        live: LiveCheckpoint,
        components: Mapping[str, Component],
        owners: "Mapping[_Key, Mapping[Box, int]]",
        ties: Mapping[_Key, str | None],
        rank: int,
    ) -> None:
        self.location = Location("memory", LocationKind.FILE)
        self.match = FormatMatch("live", Confidence.CERTAIN, "tensors in the memory of several ranks")
        self._owners, self._ties = owners, ties
        self.manifest = Manifest(in_order([self._whole(part) for part in components.values()]))
        self.own = _own(live, self._owners, rank)

    def owner(self, component: str, name: str, box: Box | None) -> int | None:
        return self._owners.get((component, name), {}).get(box or self._all_of(component, name))

    def own_name(self, component: str, name: str, box: Box | None) -> str:
        return name if box is None else _piece(name, box)

    def read(self, component: str, name: str, *, box: Box | None = None, out: memoryview | None = None) -> memoryview:
        data = self.own.read(component, self.own_name(component, name, box))
        if out is None:
            return data
        out[:] = data
        return out

    def stream(self, component: str, name: str) -> Iterator[tuple[memoryview, memoryview]]:
        raise UsageError(f"{printable(name)}: is spread over ranks; no single one can give all of it")

    def _all_of(self, component: str, name: str) -> Box:
        shape = self.manifest.component(component).tensors.info(name).shape
        return (0,) * len(shape), shape

    def _whole(self, part: Component) -> Component:
        entries = {name: self._entry(part.label, name, part.tensors[name]) for name in part.tensors}
        return Component(part.kind, TensorTable.of(entries), part.state, part.name)

    def _entry(self, label: str, name: str, entry: TensorEntry) -> TensorEntry:
        chunks = tuple(Chunk(*box, None, owner=rank) for box, rank in sorted(self._owners[label, name].items()))
        return TensorEntry(entry.dtype, entry.shape, chunks, self._ties.get((label, name), entry.alias_of))


def _digest(part: Component) -> str:
    digest = xxhash.xxh3_128(repr(to_json(part.state)).encode("utf-8", "surrogatepass"))
    for name, info in part.tensors.infos():
        digest.update(f"\n{name} {info.dtype.code} {info.shape}".encode("utf-8", "surrogatepass"))
    return str(digest.hexdigest())


def _boxes(part: Component) -> Iterator[tuple[str, list[Any]]]:
    """Yield each tensor's tie and the boxes that are here."""
    for name, entry in part.tensors.items():
        yield name, [entry.alias_of, *([chunk.offsets, chunk.sizes] for chunk in entry.chunks)]


def _described(part: Component) -> list[Any]:
    infos = [[name, info.dtype.code, info.shape, info.alias_of] for name, info in part.tensors.infos()]
    return [part.kind, part.name, to_json(part.state), infos]


def _component(described: Sequence[Any]) -> Component:
    kind, name, state, infos = described
    entries = {tensor: TensorEntry(DType[code], tuple(shape), (), alias) for tensor, code, shape, alias in infos}
    return Component(kind, TensorTable.of(entries), from_json(state), name)


def _owners(components: Mapping[str, Component], said: Sequence[_Said]) -> dict[_Key, dict[Box, int]]:
    """Return the owner of every box.

    Boxes that one rank holds come first, then replicas, so that all write about as much.
    """
    written = [0] * len(said)
    shared: list[tuple[_Key, Box, list[int]]] = []
    found: dict[_Key, dict[Box, int]] = {
        (label, name): {} for label, part in components.items() for name in part.tensors
    }
    known: dict[tuple[int, ...], tuple[int, ...]] = {}
    for (label, name), owners in found.items():
        nbytes = components[label].tensors.info(name).dtype.nbytes
        for box, ranks in _holders(label, name, said, known).items():
            owners[box] = ranks[0]
            if len(ranks) == 1 or nbytes(prod(box[1])) <= _SMALL:
                written[ranks[0]] += nbytes(prod(box[1]))
            else:
                shared.append(((label, name), box, ranks))
    for (label, name), box, ranks in shared:
        rank = min(ranks, key=lambda one: written[one])
        written[rank] += components[label].tensors.info(name).dtype.nbytes(prod(box[1]))
        found[label, name][box] = rank
    return found


def _holders(
    label: str, name: str, said: Sequence[_Said], known: dict[tuple[int, ...], tuple[int, ...]]
) -> dict[Box, list[int]]:
    """Return the ranks that hold each box of a tensor.

    Equal numbers are one object, since of sizes there are few, and of boxes millions.
    """
    found: dict[Box, list[int]] = {}
    for rank, one in enumerate(said):
        for offsets, sizes in one.boxes.get(label, {}).get(name, (None,))[1:]:
            box = known.setdefault(tuple(offsets), tuple(offsets)), known.setdefault(tuple(sizes), tuple(sizes))
            found.setdefault(box, []).append(rank)
    return found


def _elsewhere(said: _Said, owners: Mapping[_Key, Mapping[Box, int]], rank: int) -> dict[str, dict[str, Any]]:
    """Return the owners of boxes that a rank only holds.

    By label and name, each with the number of the box.
    """
    found: dict[str, dict[str, Any]] = {}
    for label, tensors in said.boxes.items():
        for name, (_, *boxes) in tensors.items():
            known = owners[label, name]
            for number, (offsets, sizes) in enumerate(boxes):
                owner = known[tuple(offsets), tuple(sizes)]
                if owner != rank:
                    found.setdefault(label, {}).setdefault(name, []).append([number, owner])
    return found


def _owners_of_own(live: LiveCheckpoint, elsewhere: Mapping[str, Any], rank: int) -> dict[_Key, dict[Box, int]]:
    """Return the owner of every box that a rank holds."""
    found: dict[_Key, dict[Box, int]] = {}
    for part in live.manifest.components:
        others = elsewhere.get(part.label, {})
        for name, entry in part.tensors.items():
            known = dict(others.get(name, ()))
            boxes = enumerate((chunk.offsets, chunk.sizes) for chunk in entry.chunks)
            found[part.label, name] = {box: known.get(number, rank) for number, box in boxes}
    return found


def _ties(said: Sequence[_Said]) -> dict[_Key, str | None]:
    """Return the tie of each tensor.

    A rank says it that holds something of the tensor.
    """
    return {
        (label, name): alias
        for one in reversed(said)
        for label, tensors in one.boxes.items()
        for name, (alias, *boxes) in tensors.items()
        if boxes
    }


def pieces_of(live: LiveCheckpoint) -> LiveCheckpoint:
    """Return everything that this rank holds, each box as a tensor."""
    return _pieces(live, lambda key, box: True)


def _own(live: LiveCheckpoint, owners: Mapping[_Key, Mapping[Box, int]], rank: int) -> LiveCheckpoint:
    """Return the pieces that this rank writes, each as a tensor."""
    return _pieces(live, lambda key, box: owners[key].get(box) == rank)


def _pieces(live: LiveCheckpoint, wanted: Callable[[_Key, Box], bool]) -> LiveCheckpoint:
    memory: dict[str, Any] = {}
    components = []
    for part in live.manifest.components:
        pieces: dict[str, TensorEntry] = {}
        for name, entry in part.tensors.items():
            for chunk in entry.chunks:
                box = chunk.offsets, chunk.sizes
                if chunk.stored is None or not wanted((part.label, name), box):
                    continue
                piece = name if chunk.sizes == entry.shape else _piece(name, box)
                stored = ByteRange(chunk.stored.path, 0, chunk.stored.length)
                whole = Chunk((0,) * len(chunk.sizes), chunk.sizes, stored, encoding=_MEMORY)
                pieces[piece] = TensorEntry(entry.dtype, chunk.sizes, (whole,))
                memory[stored.path] = _in_order(live.memory[stored.path])
        components.append(Component(part.kind, TensorTable.of(pieces), None, part.name))
    return LiveCheckpoint(components, memory)


def _piece(name: str, box: Box) -> str:
    return f"{name}@{','.join(map(str, box[0]))}"


def _in_order(memory: Any) -> Any:
    """Return the tensor row-major in this machine's memory.

    It is copied where it does not lie so.
    """
    if hasattr(memory, "untyped_storage"):
        return memory if memory.is_cpu and memory.is_contiguous() else memory.to("cpu").contiguous()
    import numpy as np

    return np.ascontiguousarray(memory, dtype=memory.dtype.newbyteorder("<"))


def _refuse_differing(live: LiveCheckpoint, digests: Sequence[Mapping[str, str]], ranks: Ranks) -> None:
    """Raise CorruptError where a component differs between ranks.

    The message names the first value that does.
    """
    first: dict[str, tuple[int, str]] = {}
    for rank, one in enumerate(digests):
        for label, digest in one.items():
            known, other = first.setdefault(label, (rank, digest))
            if other != digest:
                raise CorruptError(
                    f"{label}: rank {rank} has another one than rank {known} ({_difference(live, label, ranks)}); "
                    "give all ranks the same code, options and step, and what is each rank's own a name of its own; "
                    "nothing was saved"
                )


def _difference(live: LiveCheckpoint, label: str, ranks: Ranks) -> str:
    own = next((part for part in live.manifest.components if part.label == label), None)
    every = [one for one in ranks.exchange(None if own is None else _described(own)) if one is not None]
    for other in every[1:]:
        (_, _, state, infos), (_, _, another, others) = every[0], other
        names = {name for name, *_ in infos} ^ {name for name, *_ in others}
        kinds = [one[0] for one, two in zip(infos, others, strict=False) if one[:3] != two[:3]]
        paths = differing_paths(from_json(state), from_json(another), label)
        if found := next(iter((*sorted(names), *kinds, *paths)), None):
            return printable(found)
    return "in the order of its tensors"
