"""The kit over samples that the plugin itself wrote.

An author gets it without writing a line.

What a plugin both writes and reads wrongly passes; samples by other software need a `FormatTests` of your own.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from ckpt_core.errors import UnsupportedFormatError, UsageError
from ckpt_core.schema.access import Checkpoint
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.side_files.reserved_names import BLOCKS, DIRECTORY_SEAL, FILE_SUFFIX, MARK
from ckpt_core.testing.format_tests import FormatTests
from ckpt_core.testing.samples import BYTE_DTYPES, Sample, every_dtype, plain


class SelfWrittenTests(FormatTests):
    """`FormatTests` whose samples `save` makes.

    They have no seal, which would find all damage for the format.
    """

    def write(self, folder: Path, sample: Sample) -> Path:
        """Save a sample.

        Skips the test where the plugin does not write the format, or refuses this sample.
        """
        if self.manager().format(self.format).writes is None:
            pytest.skip("the plugin does not write the format: give a test class that makes samples")
        place = self.save(folder, self.checkpoint(sample))
        for path in [*folder.rglob("*")]:
            if path.name in (DIRECTORY_SEAL, BLOCKS) or path.name.endswith(FILE_SUFFIX) or MARK in path.name:
                path.unlink()
        return place

    def save(self, folder: Path, state: Checkpoint | Mapping[str, Any], *, force: bool = False) -> Path:
        """Save as `FormatTests` does.

        Skips the test where the format cannot hold it, or not under this name.
        """
        try:
            return super().save(folder, state, force=force)
        except (UnsupportedFormatError, UsageError) as error:
            pytest.skip(f"refused by save: {error.message}")

    def check_saved(self, folder: Path, sample: Sample) -> None:
        """As of `FormatTests`; skips the test where `save` refuses the sample."""
        self.check_place(self.write(folder, sample), sample)

    @cached_property
    def _held(self) -> tuple[DType, ...]:
        return tuple(dtype for dtype in BYTE_DTYPES if self._saves(every_dtype([dtype])))

    @property
    def dtypes(self) -> tuple[DType, ...]:  # type: ignore[override]
        """Return the types that `save` takes.

        Those that it refuses, the format cannot hold.
        """
        return self._held

    @property
    def keeps_ties(self) -> bool:  # type: ignore[override]
        """Return whether one tied tensor comes back as tied."""
        first, *_, last = plain().tensors
        sample = Sample({**plain().tensors, last: plain().tensors[first]})
        with TemporaryDirectory() as folder:
            place = self.save(Path(folder), self.checkpoint(sample, ties={last: first}))
            return self.open(place).component(self.component).tensors[self.name_of(last)].alias_of is not None

    def _name(self) -> str:
        if self.saved_as is not None:
            return self.saved_as
        one_file = self.manager().format(self.format).writes is LocationKind.FILE
        return f"sample.{self.format}" if one_file else "sample"

    def _saves(self, sample: Sample) -> bool:
        with TemporaryDirectory() as folder:
            try:
                super().save(Path(folder), self.checkpoint(sample))
            except (UnsupportedFormatError, UsageError):
                return False
        return True
