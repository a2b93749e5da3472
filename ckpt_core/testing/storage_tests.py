"""The conformance kit for storage.

A filesystem of fsspec is held to what ckpt relies on when it reads and writes.

class TestMine(StorageTests):
    conditional = True  # pipe_file(mode="create") is a promise of it

    def filesystem(self):
        return MyFileSystem(skip_instance_cache=True)

    def folder(self):
        return f"bucket/{uuid4().hex}"
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ckpt_core.errors import CheckpointNotFoundError, ReplacedError
from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.schema.verification import Depth
from ckpt_core.storage.listing import list_files, probe
from ckpt_core.storage.remote.filesystems import served
from ckpt_core.testing.memory import SampleCheckpoint
from ckpt_core.testing.rules import rule
from ckpt_core.testing.samples import plain
from ckpt_core.verbs.load import load
from ckpt_core.verbs.save import save
from ckpt_core.verbs.verify import verify

_DATA = bytes(range(256)) * 64
_LARGE = bytes(range(251)) * 40_000
"""Ten million bytes that repeat at no power of two, so that no block of them passes for another."""

_ODD = ("with space", "a=b&c", "plus+percent%20", "hash#query?", "ünï", "dots..", "-dash", "quote'\"")
_WRITERS = 8


class StorageTests(ABC):
    """Subclass it, and say which filesystem and which folder of it.

    Attributes:
        format: What a failure calls it.
        conditional: Whether `pipe_file(mode="create")` writes only where nothing has the name. A filesystem that takes
            the argument and overwrites all the same cannot tell two writers apart.
        odd_names: Names that it can hold, whatever characters are in them.
    """

    format = "a filesystem"
    conditional = False
    odd_names = _ODD

    @abstractmethod
    def filesystem(self) -> Any:
        """Return a new client.

        It knows nothing of what others have noted or written.
        """

    @abstractmethod
    def folder(self) -> str:
        """Return a folder, in the filesystem's words, that nothing is in.

        Another one each time.
        """

    def put(self, name: str, data: bytes) -> None:
        """Store a file with whatever can.

        Override it for a filesystem that only reads.
        """
        self.filesystem().pipe_file(name, data)

    def remove(self, name: str) -> None:
        """Remove a file; override it for a filesystem that only reads."""
        self.filesystem().rm_file(name)

    @contextmanager
    def place(self, files: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
        """Give a new folder with files in it.

        Its URL for ckpt, which stands for the filesystem in the block; its name.
        """
        folder = self.folder()
        for name, data in files.items():
            self.put(f"{folder}/{name}", data)
        with served("memory", self.filesystem()):
            yield f"memory://{folder}", folder

    @rule("a file is told from a folder, and both from nothing")
    def test_a_file_is_told_from_a_folder_and_from_nothing(self) -> None:
        with self.place({"run/a.bin": _DATA}) as (url, _):
            assert probe(f"{url}/run/a.bin") is LocationKind.FILE
            assert probe(f"{url}/run") is LocationKind.DIRECTORY
            for absent in ("run/b.bin", "ru"):
                assert probe(f"{url}/{absent}") is None, absent

    @rule("every file below a folder is listed with its size, and nothing else")
    def test_every_file_below_a_folder_is_listed(self) -> None:
        sizes = {"a.bin": 5, "empty": 0, "deep/er/b.bin": 7, "deep/c": 1}
        stored = {f"run/{name}": b"x" * size for name, size in sizes.items()}
        with self.place({**stored, "run2/other": b"x"}) as (url, _):
            assert _sizes(f"{url}/run") == sizes

    @rule("a name is listed and read as it was stored, whatever characters it has")
    def test_odd_names_come_back(self) -> None:
        with self.place({name: name.encode() for name in self.odd_names}) as (url, _):
            files = list_files(url)
            assert sorted(files.entries) == sorted(self.odd_names)
            for name in self.odd_names:
                assert files.read(name) == name.encode(), name

    @rule("a range is the bytes that were asked, and no others")
    def test_a_range_is_the_bytes_that_were_asked(self) -> None:
        with self.place({"a.bin": _LARGE}) as (url, _):
            files, size = list_files(url), len(_LARGE)
            for start, length in ((0, 1), (0, size), (1, 255), (size - 1, 1), (size // 2, 4 << 20), (7, 0)):
                assert files.read("a.bin", start, length) == _LARGE[start : start + length], (start, length)

    @rule("several ranges come in the order in which they were asked")
    def test_several_ranges_come_in_order(self) -> None:
        stored = {"a.bin": _LARGE, "b.bin": _DATA}
        asked = [("a.bin", 9_000_000, 9), ("b.bin", 3, 5), ("a.bin", 0, 70_000), ("a.bin", 7, 7)]
        ranges = [ByteRange(*one) for one in asked]
        with self.place(stored) as (url, _):
            came = list(list_files(url).read_many(ranges))
        assert came == [stored[one.path][one.offset : one.end] for one in ranges]

    @rule("what others stored or removed since shows in the next listing")
    def test_a_listing_is_fresh(self) -> None:
        with self.place({"a.bin": b"a"}) as (url, folder):
            assert _sizes(url) == {"a.bin": 1}
            self.put(f"{folder}/b.bin", b"bb")
            self.put(f"{folder}/a.bin", b"aaa")
            assert _sizes(url) == {"a.bin": 3, "b.bin": 2}
            self.remove(f"{folder}/a.bin")
            assert _sizes(url) == {"b.bin": 2}

    @rule("a file that is replaced by another of its size has another version")
    def test_a_version_tells_contents_apart(self) -> None:
        with self.place({"a.bin": b"first"}) as (url, folder):
            first = list_files(url).entries["a.bin"]
            assert list_files(url).entries["a.bin"] == first
            self.put(f"{folder}/a.bin", b"other")
            assert list_files(url).entries["a.bin"] != first

    @rule("a file has one version, whether it is asked about alone or found in a folder")
    def test_a_file_has_one_version_however_it_is_asked_about(self) -> None:
        with self.place({"run/a.bin": _DATA}) as (url, _):
            listed = list_files(url).entries["run/a.bin"]
            assert list_files(f"{url}/run/a.bin").entries["a.bin"].version == listed.version

    @rule("a file that is replaced or removed while it is read is an error, never a mix")
    @pytest.mark.parametrize("then", ["replaced", "removed"])
    def test_a_file_that_changes_while_it_is_read_is_an_error(self, then: str) -> None:
        with self.place({"a.bin": b"0" * 1000}) as (url, folder):
            files = list_files(url)
            assert files.read("a.bin", 0, 10) == b"0" * 10
            if then == "replaced":
                self.put(f"{folder}/a.bin", b"1" * 1000)
            else:
                self.remove(f"{folder}/a.bin")
            with pytest.raises((ReplacedError, CheckpointNotFoundError)):
                files.read("a.bin", 10, 10)
                files.check_unchanged()

    @rule("a file that is written anew is the old one or the new one to a reader, whole")
    def test_a_reader_sees_the_old_file_or_the_new_one(self) -> None:
        contents = [bytes([number]) * 2_000_000 for number in range(5)]
        ended = threading.Event()
        with self.place({"a.bin": contents[0]}) as (_, folder):

            def write() -> None:
                try:
                    for content in contents:
                        self.put(f"{folder}/a.bin", content)
                finally:
                    ended.set()

            writer = threading.Thread(target=write)
            writer.start()
            client = self.filesystem()
            while not ended.is_set():
                seen = bytes(client.cat_file(f"{folder}/a.bin"))
                assert seen in contents, f"{len(seen)} bytes, of {len(set(seen))} writers"
            writer.join()

    @rule("of several writers of a new name one is told that it made it, and its bytes are there")
    def test_one_of_several_writers_wins(self) -> None:
        if not self.conditional:
            pytest.skip("it does not claim to write only where nothing is")
        name, won = f"{self.folder()}/a.bin", list[int]()
        clients = [self.filesystem() for _ in range(_WRITERS)]
        ready = threading.Barrier(_WRITERS)

        def write(number: int) -> None:
            ready.wait()
            try:
                clients[number].pipe_file(name, bytes([number]) * 1000, mode="create")
                won.append(number)
            except OSError:
                pass  # it was told that it lost

        threads = [threading.Thread(target=write, args=(number,)) for number in range(_WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1, f"{len(won)} of {_WRITERS} writers were told that they made it"
        assert bytes(self.filesystem().cat_file(name)) == bytes([won[0]]) * 1000

    @rule("ckpt reads a sealed checkpoint there as it reads one on a disk, and finds a bit that was flipped")
    def test_ckpt_reads_a_sealed_checkpoint_and_finds_damage(self, tmp_path: Path) -> None:
        sample = plain()
        save(SampleCheckpoint(sample), str(tmp_path / "model.safetensors"))
        stored = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        damaged = bytearray(stored["model.safetensors"])
        damaged[-1] ^= 1
        with self.place(stored) as (url, folder):
            checkpoint = load(f"{url}/model.safetensors")
            table = checkpoint.component("model").tensors
            came = {name: bytes(checkpoint.read("model", name)) for name in table}
            assert came == {name: tensor.data for name, tensor in sample.tensors.items()}
            assert verify(f"{url}/model.safetensors", depth=Depth.BYTES).report.ok
            self.put(f"{folder}/model.safetensors", bytes(damaged))
            assert not verify(f"{url}/model.safetensors", depth=Depth.BYTES).report.ok


def _sizes(url: str) -> dict[str, int]:
    return {path: entry.size for path, entry in list_files(url).entries.items()}
