"""Parameters are found again in flat partitions that are cut as DeepSpeed cuts them."""

from math import prod

from ckpt_fsdp.deepspeed.zero.partitions import Chain, Space, Vector, partitioned_places, whole_places
from hypothesis import given
from hypothesis import strategies as st

from ckpt_core import DType

SHAPES = st.dictionaries(
    st.text("abcd", min_size=1, max_size=3), st.lists(st.integers(0, 4), max_size=3).map(tuple), min_size=1, max_size=6
)
WORLDS = st.integers(1, 5)


def labelled(shapes):
    """Each element of each parameter, as its name and its flat number."""
    return {name: [(name, number) for number in range(prod(shape))] for name, shape in shapes.items()}


def found_in(space, place, stored):
    """What a space says to be the elements of a parameter, out of what the ranks have stored."""
    elements = [None] * prod(place.shape)
    for run in space.runs(place):
        begin = run.offset // 4
        elements[run.start : run.stop] = stored[run.path][begin : begin + run.stop - run.start]
    return elements


def cut(stored, pieces):
    """The vectors of a rank's elements, cut into files of the given lengths, and the elements by file."""
    vectors, content, position = [], {}, 0
    for index, length in enumerate(pieces):
        path = f"{stored[0]}-{index}"
        content[path] = stored[1][position : position + length]
        vectors.append(Vector(path, 0, len(content[path])))
        position += length
    return Chain(vectors), content


@given(SHAPES, WORLDS, st.data())
def test_a_group_cut_as_a_whole_is_put_together_again(shapes, world, data):
    between = data.draw(st.lists(st.integers(0, 3), min_size=len(shapes), max_size=len(shapes)))
    places, total = whole_places(shapes, between)
    flat = [None] * total
    for name, elements in labelled(shapes).items():
        flat[places[name].at : places[name].at + len(elements)] = elements
    partition = -(-(total + data.draw(st.integers(0, 3))) // world)
    padded = flat + ["padding"] * (partition * world - total)
    stored, chains = {}, []
    for rank in range(world):
        kept = padded[rank * partition : (rank + 1) * partition]
        chain, content = cut((rank, kept), [len(kept)])
        stored |= content
        chains.append(chain)
    space = Space(DType.F32, tuple(chains), partition)
    for name, elements in labelled(shapes).items():
        assert found_in(space, places[name], stored) == elements


@given(SHAPES, WORLDS, st.data())
def test_parameters_cut_one_by_one_are_put_together_again(shapes, world, data):
    places, each = partitioned_places(shapes, world)
    stored, chains = {}, []
    for rank in range(world):
        mine = []
        for elements in labelled(shapes).values():
            part = -(-len(elements) // world)
            own = elements[rank * part : (rank + 1) * part]
            mine += own + ["padding"] * (part - len(own))
        assert len(mine) == each
        split = data.draw(st.integers(0, each))
        chain, content = cut((rank, mine), [split, each - split])
        stored |= content
        chains.append(chain)
    space = Space(DType.F32, tuple(chains), None)
    for name, elements in labelled(shapes).items():
        assert found_in(space, places[name], stored) == elements


@given(SHAPES, st.integers(2, 5), st.data())
def test_what_a_lost_rank_had_is_stored_nowhere(shapes, world, data):
    places, each = partitioned_places(shapes, world)
    lost = data.draw(st.integers(0, world - 1))
    chains = [None if rank == lost else Chain([Vector(str(rank), 0, each)]) for rank in range(world)]
    space = Space(DType.F32, tuple(chains), None)
    for place in places.values():
        numel = prod(place.shape)
        part = -(-numel // world)
        missing = max(min(part, numel - lost * part), 0)
        assert sum(prod(chunk.sizes) for chunk in space.entry(place).chunks) == numel - missing
