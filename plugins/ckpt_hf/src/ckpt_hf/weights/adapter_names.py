"""The names of files and folders that PEFT saves.

They are an adapter's weights, its config, and folders of adapters with names of their own. A save writes one README.md,
at its top: a folder with its own is a save of its own.
"""

from collections.abc import Collection

from ckpt_core import Files
from ckpt_hf.names import step_of

ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
ADAPTER_CONFIG = "adapter_config.json"
_CARD = "README.md"


def is_adapter_folder(names: Collection[str]) -> bool:
    """Return True if a folder's files are or were an adapter's."""
    return ADAPTER_CONFIG in names or any(name in names for name in ADAPTERS)


def is_named_adapter(folder: str, names: Collection[str]) -> bool:
    """Return True for an adapter of the save above.

    The adapter has the folder's name.
    """
    return is_adapter_folder(names) and _CARD not in names and step_of(folder) is None


def named_adapters(files: Files) -> list[str]:
    """Return the sorted names of adapters directly below.

    Each has a folder of its name.
    """
    below: dict[str, set[str]] = {}
    for path in files.entries:
        folder, mark, name = path.partition("/")
        if mark and "/" not in name:
            below.setdefault(folder, set()).add(name)
    return sorted(folder for folder, names in below.items() if is_named_adapter(folder, names))


def has_adapters(files: Files) -> bool:
    """Return True if a directory keeps adapters, not a model."""
    return any(name in files.entries for name in ADAPTERS) or bool(named_adapters(files))
