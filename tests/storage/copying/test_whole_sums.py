"""Hashes of whole files: the same in whatever order parts come, and wrong where one byte is."""

import hashlib
import random
from base64 import b64encode

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from ckpt_core.errors import CorruptError
from ckpt_core.storage.copying.whole_sums import WholeSums
from ckpt_core.storage.copying.work import CopyWork, each
from ckpt_core.storage.files.wrapped import WrappedFiles
from ckpt_core.storage.listing import list_files

HASHES = {"md5": hashlib.md5, "sha256": hashlib.sha256, "xxh128": xxhash.xxh3_128}


class Recorded(WrappedFiles):
    """A listing of a disk whose place records hashes."""

    def __init__(self, folder, **sums):
        super().__init__(list_files(str(folder)))
        self._sums = sums

    def whole_sum(self, path):
        return self._sums.get(path.partition(".")[0], "")


def said(name, data):
    return f"{name}:{b64encode(HASHES[name](data).digest()).decode()}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    for name, size in (("a", 300_001), ("b", 100), ("empty", 0), ("other", 5)):
        (folder / f"{name}.bin").write_bytes(random.Random(name).randbytes(size))
    return folder


def recorded(folder, algorithm):
    return Recorded(folder, **{p.stem: said(algorithm, p.read_bytes()) for p in folder.iterdir() if p.stem != "other"})


@pytest.mark.parametrize("algorithm", HASHES)
@pytest.mark.parametrize("workers", [1, 5])
def test_parts_that_several_threads_read_make_the_hash_of_the_file(folder, algorithm, workers):
    files = recorded(folder, algorithm)
    work = CopyWork(files, tuple(files.entries), lambda _: 10_000, None)
    each(work.read, work.parts, workers)
    read_again = []
    work.sums.finish(lambda *asked: read_again.append(asked))
    assert read_again == []
    assert work.sums.algorithms == (algorithm,)
    assert work.checked_by() == f"the {algorithm} of each file at its place"


@given(order=st.permutations(range(31)), seen=st.integers(0, 31))
def test_parts_in_any_order_and_some_of_them_never_make_the_hash_of_the_file(folder, order, seen):
    """As on a rerun: what is missing is read at the end."""
    files = recorded(folder, "md5")
    work = CopyWork(files, ("a.bin",), lambda _: 10_000, None)
    work.sums.waits = False
    for number in order[:seen]:
        part = work.parts[number]
        work.read(part, memoryview(bytearray(part.length)))
    work.sums.finish(files.read_into)


@pytest.mark.parametrize("wrong", ["a", "b", "empty"])
def test_a_file_that_is_not_what_its_place_records_is_refused(folder, wrong):
    sums = {p.stem: said("md5", p.read_bytes() + b"x" * (p.stem == wrong)) for p in folder.iterdir()}
    files = Recorded(folder, **sums)
    whole = WholeSums(files, tuple(files.entries))
    with pytest.raises(CorruptError, match=rf"{wrong}\.bin: its md5 is .*; nothing was committed") as raised:
        whole.finish(files.read_into)
    assert (raised.value.code, raised.value.path) == ("CP003", f"{wrong}.bin")


def test_a_hash_that_is_not_known_is_passed_over(folder):
    files = Recorded(folder, a="blake7:AAAA")
    assert WholeSums(files, tuple(files.entries)).algorithms == ()
