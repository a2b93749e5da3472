"""A version passes the conformance kit, as the format that it was published in."""

from pathlib import Path

import pytest
from safetensors.torch import save_file

import ckpt_core
from ckpt_core import DType
from ckpt_core.testing import FormatTests, Sample, as_torch
from ckpt_core.testing.samples import BYTE_DTYPES


class TestVersions(FormatTests):
    format = "safetensors"
    plugin_module = "ckpt_core.builtin.versions"
    dtypes = tuple(dtype for dtype in BYTE_DTYPES if dtype is not DType.C128)

    def write(self, folder: Path, sample: Sample) -> Path:
        save_file(as_torch(sample), folder / "model.safetensors")
        ref = ckpt_core.publish(folder / "model.safetensors", folder / "versions").ref
        (folder / "model.safetensors").unlink()
        return Path(ref)

    def _side_by_side(self, folder: Path, first: Sample, other: Sample) -> tuple[Path, Path]:
        both = folder / "both"
        both.mkdir()
        return self.write(both, first), self.write(both, other)


@pytest.mark.parametrize("name", ["ckpt.versions.json"])
def test_only_the_sign_makes_a_store(tmp_path, name):
    (tmp_path / name).write_bytes(b"{}")
    assert not ckpt_core.get_plugin_manager().hooks.detect_format(files=ckpt_core.list_files(str(tmp_path))).matches
