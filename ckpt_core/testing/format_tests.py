"""The tests that every format must pass. They run through the public API, as a user would."""

import subprocess
import sys
from pathlib import Path

import pytest

import ckpt_core
from ckpt_core.errors import CkptError
from ckpt_core.schema.verification import Depth
from ckpt_core.testing.samples import every_dtype, every_shape, hostile_files, odd_names, plain
from ckpt_core.testing.write_tests import WriteTests
from ckpt_core.verbs.load import find

_HEAVY = ("torch", "numpy", "fsspec", "s3fs", "gcsfs", "wandb", "transformers")


class FormatTests(WriteTests):
    """Subclass it, name the format, and write a sample."""

    def test_reads_every_dtype(self, tmp_path: Path) -> None:
        self.check_sample(tmp_path, every_dtype(self.dtypes))

    def test_reads_every_shape(self, tmp_path: Path) -> None:
        self.check_sample(tmp_path, every_shape())

    def test_reads_odd_names(self, tmp_path: Path) -> None:
        self.check_sample(tmp_path, odd_names())

    def test_reads_a_box_of_a_tensor(self, tmp_path: Path) -> None:
        sample = plain()
        checkpoint = self.open(self.write(tmp_path, sample))
        name, tensor = next(iter(sample.tensors.items()))
        got = checkpoint.read(self.component, self.name_of(name), box=((3, 2), (2, 4)))
        rows = [tensor.data[(row * 16 + 2) * 4 : (row * 16 + 6) * 4] for row in (3, 4)]
        assert bytes(got) == b"".join(rows)

    def test_is_detected_as_itself(self, tmp_path: Path) -> None:
        place = self.write(tmp_path, plain())
        match = find(str(place), manager=self.manager()).match
        assert match is not None
        assert match.format == self.format
        assert match.evidence

    def test_a_clean_one_verifies_at_every_depth(self, tmp_path: Path) -> None:
        place = self.write(tmp_path, plain())
        for depth in Depth:
            report = ckpt_core.verify(str(place), depth=depth, manager=self.manager()).report
            assert report.ok, report.findings
            assert report.checked_tensors == len(plain().tensors)

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

    def test_claims_nothing_foreign(self, tmp_path: Path) -> None:
        contents = {"notes.txt": b"hello", "data.json": b"{}", "noise.bin2": bytes(range(256)) * 8, "page": b"<html>"}
        for name, content in contents.items():
            (tmp_path / name).write_bytes(content)
            files = ckpt_core.list_files(str(tmp_path / name))
            claims = self.manager().hooks.detect_format(files=files).matches
            assert self.format not in {claim.format for claim in claims}, name
        claims = self.manager().hooks.detect_format(files=ckpt_core.list_files(str(tmp_path))).matches
        assert self.format not in {claim.format for claim in claims}

    def test_a_truncated_file_is_an_error(self, tmp_path: Path) -> None:
        place = self.write(tmp_path, plain())
        for path in self._weight_files(place):
            whole = path.read_bytes()
            for keep in (len(whole) - 1, len(whole) // 2, 20, 1, 0):
                path.write_bytes(whole[:keep])
                assert self._is_refused(place), f"{path.name} cut to {keep} bytes"
            path.write_bytes(whole)

    def test_a_missing_file_is_an_error(self, tmp_path: Path) -> None:
        place = self.write(tmp_path, plain())
        for path in self._weight_files(place):
            path.rename(path.with_name(f"{path.name}.away"))
            assert self._is_refused(place), path.name
            path.with_name(f"{path.name}.away").rename(path)

    def test_runs_nothing_that_a_file_asks_for(self, tmp_path: Path) -> None:
        """Each weight file becomes a pickle that leaves a mark when it is unpickled, in both of torch's layouts."""
        mark = tmp_path / "mark"
        place = self.write(_folder(tmp_path), plain())
        for path in self._weight_files(place):
            for hostile in hostile_files(f"touch {mark}"):
                path.write_bytes(hostile)
                assert self._is_refused(place), path.name
                assert not mark.exists(), f"{path.name} was run"

    def test_importing_the_plugin_stays_light(self) -> None:
        if self.plugin_module is None:
            pytest.skip("plugin_module is not set")
        code = f"import sys, {self.plugin_module}; print([m for m in {_HEAVY!r} if m in sys.modules])"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert run.stdout.strip() == "[]"

    def _weight_files(self, place: Path) -> list[Path]:
        checkpoint = self.open(place)
        table = checkpoint.component(self.component).tensors
        paths = {chunk.stored.path for entry in table.values() for chunk in entry.chunks if chunk.stored}
        return [Path(found) for path in sorted(paths) if (found := checkpoint.files.local_path(path))]

    def _is_refused(self, place: Path) -> bool:
        try:
            return not ckpt_core.verify(str(place), depth=Depth.BYTES, manager=self.manager()).report.ok
        except CkptError:
            return True


def _folder(parent: Path) -> Path:
    folder = parent / "sample"
    folder.mkdir()
    return folder
