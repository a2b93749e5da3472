"""ckpt: find, look inside, prove and load model checkpoints. Everything public is here, imported on first use."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "AmbiguousFormatError": "ckpt_core.errors",
    "Array": "ckpt_core.schema.state",
    "Asset": "ckpt_core.schema.manifests",
    "BudgetError": "ckpt_core.errors",
    "ByteRange": "ckpt_core.schema.tensors",
    "Candidate": "ckpt_core.schema.locations",
    "Checkpoint": "ckpt_core.schema.access",
    "CheckpointNotFoundError": "ckpt_core.errors",
    "Chunk": "ckpt_core.schema.tensors",
    "CkptError": "ckpt_core.errors",
    "CkptPluginManager": "ckpt_core.manager.plugin_manager",
    "Component": "ckpt_core.schema.manifests",
    "Confidence": "ckpt_core.schema.formats",
    "CorruptError": "ckpt_core.errors",
    "DType": "ckpt_core.schema.dtypes",
    "Depth": "ckpt_core.schema.findings",
    "Detection": "ckpt_core.schema.formats",
    "Encoding": "ckpt_core.schema.tensors",
    "FileEntry": "ckpt_core.schema.access",
    "Files": "ckpt_core.schema.access",
    "Finding": "ckpt_core.schema.findings",
    "Format": "ckpt_core.schema.formats",
    "FormatError": "ckpt_core.errors",
    "FormatMatch": "ckpt_core.schema.formats",
    "FormatOption": "ckpt_core.schema.formats",
    "Hooks": "ckpt_core.hookspecs",
    "Kind": "ckpt_core.schema.locations",
    "LoadError": "ckpt_core.errors",
    "LoadReport": "ckpt_core.verbs.load_into",
    "LoadRequest": "ckpt_core.schema.formats",
    "LocateError": "ckpt_core.errors",
    "Location": "ckpt_core.schema.locations",
    "Manifest": "ckpt_core.schema.manifests",
    "Opaque": "ckpt_core.schema.state",
    "Outline": "ckpt_core.schema.tensors",
    "OverwriteError": "ckpt_core.errors",
    "Part": "ckpt_core.schema.formats",
    "PluginError": "ckpt_core.errors",
    "Query": "ckpt_core.schema.locations",
    "Rank": "ckpt_core.schema.locations",
    "RepairAction": "ckpt_core.schema.repairs",
    "RepairPlan": "ckpt_core.schema.repairs",
    "RepairRequest": "ckpt_core.schema.repairs",
    "Resolution": "ckpt_core.schema.locations",
    "Severity": "ckpt_core.schema.findings",
    "State": "ckpt_core.schema.state",
    "StoredCheckpoint": "ckpt_core.reading.checkpoints",
    "Target": "ckpt_core.schema.access",
    "TensorEntry": "ckpt_core.schema.tensors",
    "TensorRef": "ckpt_core.schema.state",
    "TensorTable": "ckpt_core.schema.tensors",
    "UnreachableError": "ckpt_core.errors",
    "UnsafeContentError": "ckpt_core.errors",
    "UnsupportedFormatError": "ckpt_core.errors",
    "UsageError": "ckpt_core.errors",
    "VerifyReport": "ckpt_core.schema.findings",
    "VerifyRequest": "ckpt_core.schema.findings",
    "diff": "ckpt_core.verbs.diff",
    "get_plugin_manager": "ckpt_core.manager.plugin_manager",
    "hookimpl": "ckpt_core.hookspecs",
    "inspect": "ckpt_core.verbs.inspect",
    "list_files": "ckpt_core.storage.listing",
    "load": "ckpt_core.verbs.load",
    "load_into": "ckpt_core.verbs.load_into",
    "locate": "ckpt_core.verbs.locate",
    "printable": "ckpt_core.schema.text",
    "verify": "ckpt_core.verbs.verify",
}

__all__ = sorted([*_WHERE, "__version__"])  # noqa: PLE0605 - tests/test_public_names.py pins it


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(import_module(_WHERE[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
