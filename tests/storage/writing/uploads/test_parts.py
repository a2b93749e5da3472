"""Whatever the plan, the parts, the workers, the ranks and the stop before: the objects are the plan's bytes."""

from itertools import pairwise
from zlib import crc32

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_core import knobs
from ckpt_core.codecs.zip.writer import Record, plan_zip
from ckpt_core.layouts.in_memory import checkpoint_of
from ckpt_core.schema.plans import FilePlan, LateBytes, Literal, TensorBytes, WritePlan
from ckpt_core.storage.objects import memory_store
from ckpt_core.storage.objects.leftovers import leftovers
from ckpt_core.storage.objects.memory_store import MemoryStore
from ckpt_core.storage.writing.execute import execute
from ckpt_core.storage.writing.uploads.journal import begin_journal, forget, read_journal
from ckpt_core.storage.writing.uploads.sink import UploadedFiles


@pytest.fixture(scope="module", autouse=True)
def no_upload_of_others():
    """The memory of a process is one store: what other tests have begun there is none of these."""
    memory_store._uploads.clear()


class SmallParts(MemoryStore):
    """A store that wants parts of so many bytes, and breaks down after so many parts."""

    def __init__(self, size, dies_after=None):
        super().__init__()
        self.size, self.left, self.put_parts = size, dies_after, []

    def part_bytes(self, size):
        return self.size

    def put_part(self, key, upload, number, data):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left = self.left and self.left - 1
        self.put_parts.append((key, number))
        return super().put_part(key, upload, number, data)


@pytest.fixture(autouse=True)
def empty():
    fsspec.filesystem("memory").store.clear()
    yield
    fsspec.filesystem("memory").store.clear()


@st.composite
def plans(draw):
    """Tensors, and a plan that has each of them in boxes over its files, among literals and checksums."""
    sizes = draw(st.lists(st.integers(0, 60), min_size=1, max_size=5))
    weights = {f"t{i}": np.random.default_rng(i).integers(0, 255, size, dtype="u1") for i, size in enumerate(sizes)}
    files = [[] for _ in range(draw(st.integers(1, 3)))]
    for name, data in weights.items():
        cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=2)))
        for start, stop in pairwise([0, *cuts, len(data)]):
            section = TensorBytes("model", name, stop - start, ((start,), (stop - start,)))
            sections = files[draw(st.integers(0, len(files) - 1))]
            late = LateBytes(
                4,
                lambda crcs, section=section: crcs[section].to_bytes(4, "little"),
                of=section if draw(st.booleans()) else None,
            )
            literal = Literal(draw(st.binary(max_size=30)))
            sections += draw(st.permutations([section, late, literal]))
    return weights, WritePlan(tuple(FilePlan(f"f{i}", tuple(own), checksums=True) for i, own in enumerate(files)))


def bytes_of(plan, weights):
    """The files, by the plan alone."""
    found = {}
    for file in plan.files:
        held = {one: cut(one, weights) for one in file.sections if isinstance(one, TensorBytes)}
        crcs = {one: crc32(data) for one, data in held.items()}
        parts = [
            one.data if isinstance(one, Literal) else one.make(crcs) if isinstance(one, LateBytes) else held[one]
            for one in file.sections
        ]
        found[file.path] = b"".join(parts)
    return found


def cut(section, weights):
    (start,), (count,) = section.box
    return weights[section.name][start : start + count].tobytes()


def sink(plan, store, noted, *, resumed=False):
    def told(uploads):
        assert uploads

    return UploadedFiles(plan, store, "x/", noted=noted, resumed=resumed, check=lambda: None, told=told)


def written(store):
    return {one.key.removeprefix("x/"): store.read(one.key) for one in store.find("x/f")}


def begun(store, plan):
    return begin_journal(store, "x/", "work", [file.path for file in plan.files])


@given(plans(), st.integers(1, 50), st.integers(1, 3), st.sampled_from([1, 7, 1 << 20]))
def test_the_objects_are_the_plans_bytes(made, part, workers, slab):
    weights, plan = made
    fsspec.filesystem("memory").store.clear()
    store = SmallParts(part)
    with knobs.override(workers=workers, slab_bytes=slab):
        files = sink(plan, store, begun(store, plan))
        execute(plan, checkpoint_of(weights), files)
    assert written(store) == bytes_of(plan, weights)
    assert files.versions == {path: store.head(f"x/{path}").version for path in written(store)}
    assert not list(store.uploads("x/"))
    assert len(store.put_parts) == len(set(store.put_parts)), "no part goes up twice"


@given(plans(), st.integers(1, 20), st.integers(0, 8), st.booleans())
@settings(max_examples=60)
def test_a_rerun_moves_no_part_that_is_there_and_reads_no_tensor_that_is_noted(made, part, after, again):
    weights, plan = made
    fsspec.filesystem("memory").store.clear()
    store = SmallParts(part, dies_after=after)
    with knobs.override(workers=1):
        try:
            execute(plan, checkpoint_of(weights), sink(plan, store, begun(store, plan)))
        except KeyboardInterrupt:
            pass
        noted = read_journal(store, "x/")
        source, reads = checkpoint_of(weights), []
        stream = source.stream
        source.stream = lambda component, name: (reads.append(name), stream(component, name))[1]
        before, store.left = list(store.put_parts), None
        execute(plan, source, sink(plan, store, noted, resumed=True))
    assert written(store) == bytes_of(plan, weights)
    assert len(store.put_parts) == len(set(store.put_parts)) and store.put_parts[: len(before)] == before
    assert not {name for _, name in noted.tensors}.intersection(reads)
    if again:
        execute(plan, source, sink(plan, store, read_journal(store, "x/"), resumed=True))
        assert len(store.put_parts) == len(set(store.put_parts)), "what is whole is not put again"


@given(plans(), st.integers(1, 20), st.integers(0, 8))
@settings(max_examples=40)
def test_uploads_that_were_given_up_meanwhile_are_begun_anew(made, part, after):
    weights, plan = made
    fsspec.filesystem("memory").store.clear()
    store = SmallParts(part, dies_after=after)
    with knobs.override(workers=1):
        try:
            execute(plan, checkpoint_of(weights), sink(plan, store, begun(store, plan)))
        except KeyboardInterrupt:
            pass
        for upload in list(store.uploads("x/")):
            store.abort(upload.key, upload.id)
        store.left = None
        execute(plan, checkpoint_of(weights), sink(plan, store, read_journal(store, "x/"), resumed=True))
    assert written(store) == bytes_of(plan, weights)


@given(plans(), st.integers(1, 20), st.integers(0, 8))
@settings(max_examples=30)
def test_what_is_given_up_leaves_nothing(made, part, after):
    weights, plan = made
    fsspec.filesystem("memory").store.clear()
    store = SmallParts(part, dies_after=after)
    store.put("x/theirs", b"")
    noted = begun(store, plan)
    try:
        execute(plan, checkpoint_of(weights), sink(plan, store, noted))
    except KeyboardInterrupt:
        pass
    theirs = store.begin_upload("x/another")
    forget(store, "x/", noted)
    assert [one.key for one in store.find("")] == ["x/theirs"]
    assert [one.id for one in store.uploads("")] == [theirs]
    store.abort("x/another", theirs)


@given(plans(), st.integers(1, 50), st.integers(2, 4))
@settings(max_examples=40)
def test_ranks_put_each_part_once(made, part, world):
    from tests.storage.ranks_in_threads import in_ranks

    weights, plan = made
    fsspec.filesystem("memory").store.clear()
    store = SmallParts(part)
    noted = begun(store, plan)

    def work(ranks):
        return execute(plan, checkpoint_of(weights), sink(plan, store, noted if ranks.leads else None), ranks=ranks)

    seen = in_ranks(world, work)
    assert all(one == seen[0] for one in seen)
    assert written(store) == bytes_of(plan, weights)
    assert len(store.put_parts) == len(set(store.put_parts))
    assert not list(store.uploads("x/"))


def test_an_upload_whose_begin_was_not_answered_is_given_up_and_that_of_others_is_not():
    store = SmallParts(10)
    plan = WritePlan((FilePlan("f", (Literal(bytes(25)),)),))
    theirs = store.begin_upload("x/g")
    noted = begun(store, plan)
    store.begin_upload("x/f")
    execute(plan, checkpoint_of({"a": np.zeros(1)}), sink(plan, store, noted))
    assert [one.id for one in store.uploads("x/")] == [theirs]
    store.abort("x/g", theirs)


@pytest.mark.parametrize("end", ["finished", "forgotten", "cleaned"])
@pytest.mark.parametrize(("has_part", "later"), [(True, 0), (False, 10), (False, -10)])
def test_an_upload_of_somebody_else_to_the_very_key_stays(end, has_part, later):
    """One that has a part, and one that was begun before our journal or after our own was noted."""
    plan, store = WritePlan((FilePlan("f", (Literal(bytes(25)),)),)), SmallParts(10)
    noted = begun(store, plan)
    theirs = store.begin_upload("x/f")
    key, started, parts = memory_store._uploads[theirs]
    memory_store._uploads[theirs] = key, started + later, parts
    if has_part:
        store.put_part("x/f", theirs, 1, b"theirs")
    store.left = 2
    files = sink(plan, store, noted)
    if end == "finished":
        store.left = None
        execute(plan, checkpoint_of({"a": np.zeros(1)}), files)
    else:
        with pytest.raises(KeyboardInterrupt):
            execute(plan, checkpoint_of({"a": np.zeros(1)}), files)
        assert len(list(store.uploads("x/"))) == 2
    if end == "forgotten":
        forget(store, "x/", noted)
    if end == "cleaned":
        for left in leftovers(store, "x"):
            left.remove()
    assert [one.id for one in store.uploads("x/")] == [theirs]
    store.abort("x/f", theirs)


class Sunk(SmallParts):
    """Keeps nothing of a part but its length."""

    def put_part(self, key, upload, number, data):
        return super().put_part(key, upload, number, bytes(1))


def zipped(nbytes):
    """An archive of tensors: the checksum of each stands before its bytes, and once more at the end of all."""
    records = [Record(f"archive/data/{name}", TensorBytes("model", name, nbytes)) for name in "abcdefgh"]
    return FilePlan("f", plan_zip(records), checksums=True)


@pytest.mark.parametrize("file", [FilePlan("f", (TensorBytes("model", "a", 64 << 20),)), zipped(8 << 20)])
def test_memory_stays_at_a_few_parts_whatever_the_file_has(file):
    import tracemalloc

    names = {section.name for section in file.sections if isinstance(section, TensorBytes)}
    one = np.zeros((64 << 20) // len(names), "u1")
    plan, source, store = WritePlan((file,)), checkpoint_of(dict.fromkeys(names, one)), Sunk(4 << 20)
    noted = begun(store, plan)
    tracemalloc.start()
    try:
        with knobs.override(workers=1):
            execute(plan, source, sink(plan, store, noted))
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
