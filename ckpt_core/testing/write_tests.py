"""The tests of a format that writes.

What goes in comes out, again and again the same, whole or not at all.

`FormatTests` includes them; for a format without `writes` they are skipped.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import ckpt_core
from ckpt_core.errors import CkptError
from ckpt_core.schema.access import Checkpoint
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.findings import Severity
from ckpt_core.schema.side_files.reserved_names import MARK
from ckpt_core.schema.verification import Depth
from ckpt_core.storage.sealing import read_seal
from ckpt_core.testing.kit import FormatKit
from ckpt_core.testing.memory import BreakingCheckpoint, SampleCheckpoint
from ckpt_core.testing.rules import rule
from ckpt_core.testing.samples import Sample, Tensor, every_dtype, every_shape, odd_names, plain
from ckpt_core.verbs.load import find


class WriteTests(FormatKit):
    """The writing half of `FormatTests`.

    Attributes:
        save_options: Options of the format to save with.
        saved_as: Name of what is written; None for the name that `write` gives.
        keeps_ties: Whether the format keeps which tensors share storage.
    """

    save_options: Mapping[str, Any] = {}
    saved_as: str | None = None
    keeps_ties = True

    def checkpoint(self, sample: Sample, *, ties: Mapping[str, str] | None = None) -> Checkpoint:
        """Return the checkpoint that is handed to `save`.

        Override it where the format needs more than tensors.
        """
        return SampleCheckpoint(sample, self.component, ties=ties)

    def save(self, folder: Path, state: Checkpoint | Mapping[str, Any], *, force: bool = False) -> Path:
        """Write below a folder with the plugin, and give the place."""
        place = folder / self._name()
        options, manager = self.save_options, self.manager()
        ckpt_core.save(state, str(place), format=self.format, options=options, force=force, manager=manager)
        return place

    def check_saved(self, folder: Path, sample: Sample) -> None:
        """The sample is read as it was handed to `save`."""
        self.check_place(self.save(folder, self.checkpoint(sample)), sample)

    @pytest.fixture
    def written(self, tmp_path: Path) -> Path:
        """Return an empty folder to write in.

        Skips the test where the format does not write.
        """
        if self.manager().format(self.format).writes is None:
            pytest.skip(f"format {self.format} does not write")
        folder = tmp_path / "written"
        folder.mkdir()
        return folder

    @rule("every element type that it writes comes back")
    def test_writes_every_dtype(self, written: Path) -> None:
        self.check_saved(written, every_dtype(self.dtypes))

    @rule("every shape that it writes comes back")
    def test_writes_every_shape(self, written: Path) -> None:
        self.check_saved(written, every_shape())

    @rule("odd names that it writes come back")
    def test_writes_odd_names(self, written: Path) -> None:
        self.check_saved(written, odd_names())

    @rule("tied tensors are written, as tied where the format can say so")
    def test_writes_tied_tensors_as_tied(self, written: Path) -> None:
        sample = plain()
        first, *_, last = sample.tensors
        sample = Sample({**sample.tensors, last: sample.tensors[first]})
        place = self.save(written, self.checkpoint(sample, ties={last: first}))
        self.check_place(place, sample)
        table = self.open(place).component(self.component).tensors
        tied = {name: entry.alias_of for name, entry in table.items() if entry.alias_of is not None}
        assert tied == ({self.name_of(last): self.name_of(first)} if self.keeps_ties else {})

    @rule("tensors in memory are written whatever their strides")
    def test_writes_tensors_in_memory_whatever_their_strides(self, written: Path) -> None:
        import numpy as np

        rows = np.arange(12, dtype="<f4").reshape(3, 4)
        arrays = {"straight": rows, "turned": rows.T, "every.second": rows[:, ::2], "backwards": rows[::-1]}
        tensors = {name: Tensor(DType.F32, array.shape, array.tobytes()) for name, array in arrays.items()}
        state = arrays if self.component == "model" else {self.component: arrays}
        self.check_place(self.save(written, state), Sample(tensors))

    @rule("what it wrote is detected as itself")
    def test_what_it_wrote_is_detected_as_itself(self, written: Path) -> None:
        match = find(str(self.save(written, self.checkpoint(plain()))), manager=self.manager()).match
        assert match is not None
        assert match.format == self.format

    @rule("what it wrote is sealed, and verifies at every depth")
    def test_what_it_wrote_is_sealed_and_verifies_at_every_depth(self, written: Path) -> None:
        place = self.save(written, self.checkpoint(plain()))
        seal = read_seal(ckpt_core.list_files(str(place)))
        assert seal is not None
        assert seal.format == self.format
        assert set(seal.tensors[self.component]) == {self.name_of(name) for name in plain().tensors}
        for depth in Depth:
            report = ckpt_core.verify(str(place), depth=depth, manager=self.manager()).report
            assert [found for found in report.findings if found.severity is not Severity.INFO] == []
            assert report.checked_tensors == len(plain().tensors)

    @rule("the same input makes the same bytes")
    def test_the_same_input_makes_the_same_bytes(self, written: Path) -> None:
        first, second = written / "first", written / "second"
        self.save(first, self.checkpoint(plain()))
        self.save(second, self.checkpoint(plain()))
        assert _contents(first)
        assert _contents(first) == _contents(second)

    @rule("a write that fails leaves nothing, and can be done again")
    def test_a_write_that_fails_midway_leaves_nothing_and_can_be_done_again(self, written: Path) -> None:
        with pytest.raises((OSError, CkptError)):
            self.save(written, BreakingCheckpoint(self.checkpoint(plain())))
        assert _contents(written) == {}
        assert self.manager().hooks.detect_format(files=ckpt_core.list_files(str(written))).matches == ()
        self.check_place(self.save(written, self.checkpoint(plain())), plain())

    @rule("a write that fails leaves what was there")
    def test_a_write_that_fails_midway_leaves_what_was_there(self, written: Path) -> None:
        self.save(written, self.checkpoint(plain()))
        before = _contents(written)
        with pytest.raises((OSError, CkptError)):
            self.save(written, BreakingCheckpoint(self.checkpoint(plain())), force=True)
        assert _contents(written) == before

    def _name(self) -> str:
        if self.saved_as is not None:
            return self.saved_as
        with TemporaryDirectory() as scratch:
            folder = Path(scratch, "saved")
            folder.mkdir()
            return self.write(folder, plain()).name


def _contents(folder: Path) -> dict[str, str]:
    """Return a digest of each file below a folder, by path.

    Locks, which stay, are left out.
    """
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(f"{MARK}lock")
    }
