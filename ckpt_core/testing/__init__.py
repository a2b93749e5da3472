"""The conformance kit for plugin authors. Subclass `FormatTests` in a test module and say how a sample is made.

    from ckpt_core.testing import FormatTests, Sample

    class TestNpy(FormatTests):
        format = "npy"

        def write(self, folder, sample):
            ...                     # write sample.tensors under folder
            return folder / "x.npy" # what a person would type

Every test of the kit then runs against your format: it reads what was written, byte for byte, reads no tensor to open
it, claims nothing foreign, reports damage, and keeps `ckpt` fast to start. Where the format writes (`Format.writes`),
they save samples with it too, read them back, and break the write off midway.
Needs pytest (`pip install ckpt-core[testing]`).
"""

from ckpt_core.testing.format_tests import FormatTests
from ckpt_core.testing.memory import SampleCheckpoint
from ckpt_core.testing.samples import Sample, Tensor, as_torch

__all__ = ["FormatTests", "Sample", "SampleCheckpoint", "Tensor", "as_torch"]
