"""The names of what PEFT saves: an adapter's weights, its config, and folders of adapters with names of their own.

A save writes one README.md, at its top: a folder with its own is a save of its own.
"""

from collections.abc import Collection

from ckpt_core import Files
from ckpt_hf.names import step_of

ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
ADAPTER_CONFIG = "adapter_config.json"
_CARD = "README.md"


def is_adapter_folder(names: Collection[str]) -> bool:
    """Whether the files of a folder are, or were, an adapter's."""
    return ADAPTER_CONFIG in names or any(name in names for name in ADAPTERS)


def is_named_adapter(folder: str, names: Collection[str]) -> bool:
    """Whether a folder holds an adapter of the save in the folder above, named as the folder is."""
    return is_adapter_folder(names) and _CARD not in names and step_of(folder) is None


def named_adapters(files: Files) -> list[str]:
    """The names of the adapters in folders directly below, sorted."""
    below: dict[str, set[str]] = {}
    for path in files.entries:
        folder, mark, name = path.partition("/")
        if mark and "/" not in name:
            below.setdefault(folder, set()).add(name)
    return sorted(folder for folder, names in below.items() if is_named_adapter(folder, names))


def has_adapters(files: Files) -> bool:
    """Whether adapters, and not a whole model, are what a directory keeps."""
    return any(name in files.entries for name in ADAPTERS) or bool(named_adapters(files))
