"""The needs of every test of the kit.

The format, how a sample of it is made, how it is opened and compared.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection
from pathlib import Path

from ckpt_core.manager.plugin_manager import CkptPluginManager, get_plugin_manager
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.schema.dtypes import DType
from ckpt_core.testing.samples import BYTE_DTYPES, Sample
from ckpt_core.verbs.load import load


class FormatKit(ABC):
    """A format under test.

    Attributes:
        format: The format's name.
        plugin_module: The module that is your plugin's entry point, for the test that importing it stays light.
        dtypes: Element types the format can hold.
        component: The component its tensors are read into.
        keeps_column_major: Whether the format can keep arrays column by column, and `write` does for such a sample.
        has_checksums: Whether the format is known to have checksums: then it is an error where none is compared.
    """

    format: str
    plugin_module: str | None = None
    dtypes: Collection[DType] = BYTE_DTYPES
    component = "model"
    keeps_column_major = False
    has_checksums = False

    @abstractmethod
    def write(self, folder: Path, sample: Sample) -> Path:
        """Write a sample in your format, under an empty folder.

        Other software than the plugin writes it.

        Returns:
            What a person would name: a file or a directory.
        """

    def name_of(self, name: str) -> str:
        """Return the name under which the format keeps a tensor.

        Override it where the format cannot keep every name.
        """
        return name

    def second_name(self, place: Path) -> str:
        """Return the name of another of the format in the same folder.

        Override it where names mean something.
        """
        return f"second{place.suffix}"

    def manager(self) -> CkptPluginManager:
        """Return the plugin manager.

        Override it to register a plugin that is not installed.
        """
        return get_plugin_manager()

    def open(self, place: Path) -> StoredCheckpoint:
        return load(str(place), manager=self.manager())

    def check_sample(self, folder: Path, sample: Sample) -> None:
        """Compare every tensor of a sample with what is read.

        Type, shape and bytes, and that nothing is there besides.
        """
        self.check_place(self.write(folder, sample), sample)

    def check_place(self, place: Path, sample: Sample) -> None:
        """Compare what a place holds with the tensors of a sample.

        Nothing may be there besides.
        """
        checkpoint = self.open(place)
        table = checkpoint.component(self.component).tensors
        assert set(table) == {self.name_of(name) for name in sample.tensors}
        for name, tensor in sample.tensors.items():
            entry = table[self.name_of(name)]
            assert (entry.dtype, entry.shape) == (tensor.dtype, tensor.shape), name
            assert bytes(checkpoint.read(self.component, self.name_of(name))) == tensor.data, name
            info = table.info(self.name_of(name))
            assert (info.dtype, info.shape, info.nbytes) == (entry.dtype, entry.shape, entry.nbytes), name


def new_folder(parent: Path, name: str) -> Path:
    """An empty folder below another."""
    folder = parent / name
    folder.mkdir()
    return folder
