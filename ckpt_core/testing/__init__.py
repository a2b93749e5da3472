"""The conformance kit for plugin authors.

Subclass `FormatTests` in a test module and say how a sample is made.

    from ckpt_core.testing import FormatTests, Sample, as_numpy

    class TestNpz(FormatTests):
        format = "npz"

        def write(self, folder, sample):
            np.savez(folder / "x.npz", **as_numpy(sample))  # with other software than yours
            return folder / "x.npz"                         # what a person would type

Every test of the kit then runs against your format: it reads what was written, byte for byte, reads no tensor to open
it, claims nothing foreign, reports damage, and keeps `ckpt` fast to start. Where the format writes (`Format.writes`),
they save samples with it too, read them back, and break the write off midway. `python -m ckpt_core.testing NAME` prints
a scorecard of an installed plugin. `StorageTests` does the same for a filesystem of fsspec, `LocateTests` for a hook
`locate`. Needs pytest and hypothesis (the extra `testing`).
"""

import pytest

# Before they are imported: else a failure says AssertionError and no value.
pytest.register_assert_rewrite(
    "ckpt_core.testing.kit",
    "ckpt_core.testing.damage_tests",
    "ckpt_core.testing.format_tests",
    "ckpt_core.testing.write_tests",
    "ckpt_core.testing.layout_sign_tests",
    "ckpt_core.testing.locate_tests",
    "ckpt_core.testing.storage_tests",
)

from ckpt_core.testing.format_tests import FormatTests  # noqa: E402
from ckpt_core.testing.layout_sign_tests import LayoutSignTests  # noqa: E402
from ckpt_core.testing.locate_tests import LocateTests  # noqa: E402
from ckpt_core.testing.memory import SampleCheckpoint  # noqa: E402
from ckpt_core.testing.samples import BYTE_DTYPES, NUMPY_DTYPES, Sample, Tensor, as_numpy, as_torch  # noqa: E402
from ckpt_core.testing.storage_tests import StorageTests  # noqa: E402

__all__ = [
    "BYTE_DTYPES",
    "NUMPY_DTYPES",
    "FormatTests",
    "LayoutSignTests",
    "LocateTests",
    "Sample",
    "SampleCheckpoint",
    "StorageTests",
    "Tensor",
    "as_numpy",
    "as_torch",
]
