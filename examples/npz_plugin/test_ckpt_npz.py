from pathlib import Path

import numpy as np

from ckpt_core.testing import NUMPY_DTYPES, FormatTests, Sample, as_numpy


class TestNpz(FormatTests):
    format = "npz"
    plugin_module = "ckpt_npz"
    dtypes = NUMPY_DTYPES
    keeps_ties = False
    keeps_column_major = True
    has_checksums = True

    def write(self, folder: Path, sample: Sample) -> Path:
        np.savez(folder / "x.npz", **as_numpy(sample))
        return folder / "x.npz"


def test_numpy_reads_what_the_plugin_writes(tmp_path: Path) -> None:
    import ckpt_core

    arrays = {"layer.weight": np.arange(6, dtype="<f4").reshape(2, 3), "größe": np.array(3, "<i8")}
    ckpt_core.save(arrays, str(tmp_path / "x.npz"), format="npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as archive:
        assert {name: archive[name].tolist() for name in archive.files} == {
            name: array.tolist() for name, array in arrays.items()
        }
