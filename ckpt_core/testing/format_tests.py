"""The tests that every format must pass.

They run through the public API, as a user would.
"""

import subprocess
import sys
from pathlib import Path

import pytest

import ckpt_core
from ckpt_core.errors import CkptError
from ckpt_core.schema.verification import Depth
from ckpt_core.testing.damage_tests import DamageTests
from ckpt_core.testing.kit import new_folder
from ckpt_core.testing.rules import rule
from ckpt_core.testing.samples import Sample, column_major, every_dtype, every_shape, odd_names, plain, renamed
from ckpt_core.testing.write_tests import WriteTests
from ckpt_core.verbs.load import find

_HEAVY = ("torch", "numpy", "fsspec", "s3fs", "gcsfs", "wandb", "transformers")


class FormatTests(DamageTests, WriteTests):
    """Subclass it, name the format, and write a sample."""

    @rule("every element type comes back, byte for byte")
    def test_reads_every_dtype(self, tmp_path: Path) -> None:
        self.check_sample(tmp_path, every_dtype(self.dtypes))

    @rule("scalars, empty tensors and every shape come back")
    def test_reads_every_shape(self, tmp_path: Path) -> None:
        self.check_sample(tmp_path, every_shape())

    @rule("odd names come back as they were")
    def test_reads_odd_names(self, tmp_path: Path) -> None:
        self.check_sample(tmp_path, odd_names())

    @rule("column-major arrays come back in row-major order")
    def test_reads_column_major_arrays(self, tmp_path: Path) -> None:
        if not self.keeps_column_major:
            pytest.skip("the format keeps one order of elements (keeps_column_major is not set)")
        self.check_sample(tmp_path, column_major())

    @rule("of two in a folder none is taken for the other")
    def test_two_in_a_folder_stay_two(self, tmp_path: Path) -> None:
        first, other = plain(), renamed(plain(), "other.")
        place, twin = self._side_by_side(tmp_path, first, other)
        self.check_place(place, first)
        self.check_place(twin, other)
        try:
            read = set(self.open(place.parent).component(self.component).tensors)
        except CkptError:
            return
        names = {self.name_of(name) for name in (*first.tensors, *other.tensors)}
        assert len(read) >= len(names), f"{self.format} opens a folder of two as one of them"

    def _side_by_side(self, folder: Path, first: Sample, other: Sample) -> tuple[Path, Path]:
        """Two places in one folder, under names that the format takes."""
        both = new_folder(folder, "both")
        place, twin = self.write(new_folder(folder, "first"), first), self.write(new_folder(folder, "other"), other)
        moved, beside = both / place.name, both / self.second_name(twin)
        place.rename(moved)
        twin.rename(beside)
        return moved, beside

    @rule("a box of a tensor is read alone")
    def test_reads_a_box_of_a_tensor(self, tmp_path: Path) -> None:
        sample = plain()
        checkpoint = self.open(self.write(tmp_path, sample))
        name, tensor = next(iter(sample.tensors.items()))
        got = checkpoint.read(self.component, self.name_of(name), box=((3, 2), (2, 4)))
        rows = [tensor.data[(row * 16 + 2) * 4 : (row * 16 + 6) * 4] for row in (3, 4)]
        assert bytes(got) == b"".join(rows)

    @rule("it is detected as itself, with evidence")
    def test_is_detected_as_itself(self, tmp_path: Path) -> None:
        place = self.write(tmp_path, plain())
        match = find(str(place), manager=self.manager()).match
        assert match is not None
        assert match.format == self.format
        assert match.evidence

    @rule("a sound one verifies at every depth")
    def test_a_clean_one_verifies_at_every_depth(self, tmp_path: Path) -> None:
        place = self.write(tmp_path, plain())
        for depth in Depth:
            report = ckpt_core.verify(str(place), depth=depth, manager=self.manager()).report
            assert report.ok, report.findings
            assert report.checked_tensors == len(plain().tensors)

    @rule("opening reads no tensor")
    def test_load_reads_no_tensor_byte(self, tmp_path: Path) -> None:
        """Every tensor's bytes are overwritten; opening must give the same table."""
        place = self.write(tmp_path, plain())
        before = self.open(place)
        table = before.component(self.component).tensors
        for name, info in table.infos():
            path = before.files.local_path(info.path) if info.path else None
            if path is None:
                pytest.skip(f"{name} does not lie plainly in a local file")
            with open(path, "r+b") as file:
                file.seek(info.offset)
                file.write(b"\xa5" * info.nbytes)
        after = self.open(place).component(self.component).tensors
        assert dict(after.items()) == dict(table.items())

    @rule("files of other programs are not claimed")
    def test_claims_nothing_foreign(self, tmp_path: Path) -> None:
        contents = {"notes.txt": b"hello", "data.json": b"{}", "noise.bin2": bytes(range(256)) * 8, "page": b"<html>"}
        for name, content in contents.items():
            (tmp_path / name).write_bytes(content)
            files = ckpt_core.list_files(str(tmp_path / name))
            claims = self.manager().hooks.detect_format(files=files).matches
            assert self.format not in {claim.format for claim in claims}, name
        claims = self.manager().hooks.detect_format(files=ckpt_core.list_files(str(tmp_path))).matches
        assert self.format not in {claim.format for claim in claims}

    @rule("importing the plugin imports nothing heavy")
    def test_importing_the_plugin_stays_light(self) -> None:
        if self.plugin_module is None:
            pytest.skip("plugin_module is not set")
        code = f"import sys, {self.plugin_module}; print([m for m in {_HEAVY!r} if m in sys.modules])"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert run.stdout.strip() == "[]"
