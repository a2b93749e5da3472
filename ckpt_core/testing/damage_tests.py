"""The tests of damage.

What is cut, gone, flipped or hostile is refused or reported, and nothing of it is run.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ckpt_core.errors import CkptError
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.schema.verification import Depth
from ckpt_core.testing.kit import FormatKit, new_folder
from ckpt_core.testing.rules import rule
from ckpt_core.testing.samples import hostile_files, plain
from ckpt_core.verbs.verify import verify


class DamageTests(FormatKit):
    """The part of `FormatTests` that breaks what was written."""

    @rule("a truncated file is an error")
    def test_a_truncated_file_is_an_error(self, tmp_path: Path) -> None:
        place = self.write(tmp_path, plain())
        for path in self._weight_files(place):
            whole = path.read_bytes()
            for keep in (len(whole) - 1, len(whole) // 2, 20, 1, 0):
                path.write_bytes(whole[:keep])
                assert self._is_refused(place), f"{path.name} cut to {keep} bytes"
            path.write_bytes(whole)

    @rule("a missing file is an error")
    def test_a_missing_file_is_an_error(self, tmp_path: Path) -> None:
        place = self.write(tmp_path, plain())
        for path in self._weight_files(place):
            path.rename(path.with_name(f"{path.name}.away"))
            assert self._is_refused(place), path.name
            path.with_name(f"{path.name}.away").rename(path)

    @rule("nothing that a file asks for is run")
    def test_runs_nothing_that_a_file_asks_for(self, tmp_path: Path) -> None:
        """Open weight files that are pickles which leave a mark.

        In both of torch's layouts: none may be unpickled.
        """
        mark = tmp_path / "mark"
        place = self.write(new_folder(tmp_path, "sample"), plain())
        for path in self._weight_files(place):
            for hostile in hostile_files(f"touch {mark}"):
                path.write_bytes(hostile)
                assert self._is_refused(place), path.name
                assert not mark.exists(), f"{path.name} was run"

    @rule("a flipped bit is found by verify and by read, where there are checksums")
    def test_a_flipped_bit_is_found(self, tmp_path: Path) -> None:
        place = self.write(new_folder(tmp_path, "sample"), plain())
        if not _has_checksums(self.open(place), self.component):
            assert not self.has_checksums, f"format {self.format} is said to have checksums, and none is compared"
            pytest.skip("the format has no checksums of its own")
        for name, path, offset in list(self._first_bytes(place))[:3]:
            whole = path.read_bytes()
            path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 0x10]) + whole[offset + 1 :])
            assert self._is_refused(place), f"{name}: verify passes a flipped bit at byte {offset} of {path.name}"
            assert self._is_unreadable(place, name), f"{name}: read gives a flipped bit at byte {offset} of {path.name}"
            path.write_bytes(whole)

    def _first_bytes(self, place: Path) -> Iterator[tuple[str, Path, int]]:
        """Yield each tensor with a file and an offset of its bytes."""
        checkpoint = self.open(place)
        for name, entry in checkpoint.component(self.component).tensors.items():
            for chunk in map(checkpoint.find_chunk, entry.chunks[:1]):
                path = checkpoint.files.local_path(chunk.stored.path) if chunk.stored else None
                if path is not None and chunk.stored and chunk.stored.length:
                    yield name, Path(path), chunk.stored.offset + chunk.at + entry.dtype.itemsize

    def _weight_files(self, place: Path) -> list[Path]:
        checkpoint = self.open(place)
        table = checkpoint.component(self.component).tensors
        paths = {chunk.stored.path for entry in table.values() for chunk in entry.chunks if chunk.stored}
        return [Path(found) for path in sorted(paths) if (found := checkpoint.files.local_path(path))]

    def _is_refused(self, place: Path) -> bool:
        try:
            return not verify(str(place), depth=Depth.BYTES, manager=self.manager()).report.ok
        except CkptError:
            return True

    def _is_unreadable(self, place: Path, name: str) -> bool:
        try:
            self.open(place).read(self.component, name)
        except CkptError:
            return True
        return False


def _has_checksums(checkpoint: StoredCheckpoint, component: str) -> bool:
    """Return whether a read was compared with any checksum.

    The checkpoint has no seal.
    """
    for name in checkpoint.component(component).tensors:
        checkpoint.read(component, name)
    return not checkpoint.files.checked_by().startswith("nothing")
