import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ckpt_core

PUBLIC = [
    "AmbiguousFormatError",
    "Array",
    "Asset",
    "AssetBytes",
    "BudgetError",
    "ByteRange",
    "Candidate",
    "Checkpoint",
    "CheckpointNotFoundError",
    "Checksum",
    "Chunk",
    "CkptError",
    "CkptPluginManager",
    "Component",
    "Confidence",
    "Conversion",
    "CorruptError",
    "DType",
    "Depth",
    "Detection",
    "Encoding",
    "FileEntry",
    "FilePlan",
    "Files",
    "Finding",
    "Format",
    "FormatError",
    "FormatMatch",
    "FormatOption",
    "Hooks",
    "Irreparable",
    "LateBytes",
    "Literal",
    "LoadError",
    "LoadReport",
    "LoadRequest",
    "LocateError",
    "Location",
    "LocationKind",
    "Manifest",
    "NoAnswerError",
    "Opaque",
    "Operation",
    "OverwriteError",
    "Part",
    "PluginError",
    "Presence",
    "Priority",
    "Profile",
    "Query",
    "Ranks",
    "Repair",
    "RepairAction",
    "RepairPlan",
    "RepairRequest",
    "ReplacedError",
    "Resolution",
    "Role",
    "Sampling",
    "SaveReport",
    "Severity",
    "State",
    "StoredCheckpoint",
    "Target",
    "TensorBytes",
    "TensorEntry",
    "TensorInfo",
    "TensorRef",
    "TensorTable",
    "UnreachableError",
    "UnsafeContentError",
    "UnsupportedFormatError",
    "UsageError",
    "VerifyReport",
    "VerifyRequest",
    "WritePlan",
    "__version__",
    "convert",
    "diff",
    "get_plugin_manager",
    "hookimpl",
    "inspect",
    "list_files",
    "load",
    "load_into",
    "locate",
    "printable",
    "read_seal",
    "repair",
    "save",
    "scale_names",
    "tensor_names",
    "torchrun_ranks",
    "undo_repair",
    "verify",
    "with_names",
]


def test_the_public_names_are_these():
    """A name taken away, or a new one, is a change that users notice: CHANGELOG.md tells them."""
    assert ckpt_core.__all__ == PUBLIC
    assert sorted(ckpt_core.__all__) == ckpt_core.__all__
    assert dir(ckpt_core) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_each_name_leads_to_the_thing_of_that_name(name):
    value = getattr(ckpt_core, name)
    assert getattr(value, "__name__", name) == name


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = ckpt_core.nonsense


def test_type_checkers_are_told_the_same_names_from_the_same_modules():
    told = {}
    for node in ast.parse(Path(ckpt_core.__file__).read_text()).body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for line in node.body:
                assert isinstance(line, ast.ImportFrom)
                told |= {alias.asname: line.module for alias in line.names if alias.asname == alias.name}
    assert told == ckpt_core._WHERE


def test_importing_the_package_imports_nothing_else():
    code = """
import sys
before = set(sys.modules)
import ckpt_core
print(sorted(name for name in set(sys.modules) - before if not name.startswith("importlib")))
"""
    ran = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=Path(ckpt_core.__file__).parents[1]
    )
    known = {"ckpt_core", "ckpt_core.version"}
    loaded = set(ast.literal_eval(ran.stdout))
    assert {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names) == {"ckpt_core"}, ran.stderr
    assert {name for name in loaded if name.startswith("ckpt_core")} <= known


@pytest.mark.parametrize("name", ["Query", "locate", "CkptPluginManager", "list_files", "load"])
def test_a_name_brings_in_no_heavy_library(name):
    code = f"""
import sys
from ckpt_core import {name}
print(sorted({{"torch", "numpy", "fsspec", "aiohttp", "transformers", "rich", "click"}} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout.strip() == "[]", ran.stderr
