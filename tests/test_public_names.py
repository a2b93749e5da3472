import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ckpt_core
from ckpt_core import codecs, errors, layouts, training

PUBLIC = [
    "AmbiguousFormatError",
    "AmbiguousRunError",
    "Array",
    "Assessment",
    "AssessmentLine",
    "Asset",
    "AssetBytes",
    "Attempt",
    "BaseMismatchError",
    "BaseModel",
    "Bisection",
    "BudgetError",
    "ByteRange",
    "Candidate",
    "Certificate",
    "Checkpoint",
    "CheckpointNotFoundError",
    "Checksum",
    "Choice",
    "Chunk",
    "CkptError",
    "CkptPluginManager",
    "CleanReport",
    "Component",
    "ConditionFailedError",
    "Confidence",
    "Conversion",
    "CopyReport",
    "CorruptError",
    "DType",
    "Depth",
    "Detection",
    "DiffReport",
    "Difference",
    "Encoding",
    "FileEntry",
    "FilePlan",
    "FileSeal",
    "Files",
    "Finding",
    "Fit",
    "Forecast",
    "Format",
    "FormatError",
    "FormatMatch",
    "FormatOption",
    "Hooks",
    "IncompleteError",
    "Inspection",
    "Irreparable",
    "LateBytes",
    "LeftBehind",
    "Literal",
    "LoadError",
    "LoadInterruptedError",
    "LoadRefusedError",
    "LoadReport",
    "LoadRequest",
    "LocateError",
    "Location",
    "LocationKind",
    "LockedError",
    "Manifest",
    "Mismatch",
    "NoAnswerError",
    "Opaque",
    "Operation",
    "Outcome",
    "OverwriteError",
    "Part",
    "Place",
    "PluginError",
    "PluginStatus",
    "Presence",
    "Priority",
    "Profile",
    "Progress",
    "PrunedVersions",
    "Published",
    "Query",
    "Ranks",
    "Repair",
    "RepairAction",
    "RepairPlan",
    "RepairRequest",
    "ReplacedError",
    "Resolution",
    "Retention",
    "Role",
    "RunOptions",
    "Sampling",
    "SaveReport",
    "Seal",
    "Sealing",
    "Selection",
    "Severity",
    "State",
    "StoredCheckpoint",
    "Target",
    "TensorBytes",
    "TensorDifference",
    "TensorEntry",
    "TensorInfo",
    "TensorRef",
    "TensorTable",
    "Totals",
    "Uncast",
    "UnreachableError",
    "UnsafeContentError",
    "UnsupportedFormatError",
    "UsageError",
    "Verdict",
    "Verification",
    "VerifyReport",
    "VerifyRequest",
    "VersionList",
    "VersionRecord",
    "VersionsReport",
    "WritePlan",
    "__version__",
    "argument",
    "bisect",
    "certify",
    "clean",
    "convert",
    "copy",
    "diff",
    "fingerprint",
    "get_plugin_manager",
    "hookimpl",
    "in_shell",
    "inspect",
    "list_files",
    "list_versions",
    "load",
    "load_into",
    "locate",
    "marked",
    "option",
    "printable",
    "prune_versions",
    "publish",
    "read_seal",
    "remote_timeout",
    "repair",
    "save",
    "scale_names",
    "seal",
    "set_alias",
    "tensor_names",
    "torch_dtype",
    "torchrun_ranks",
    "undo_repair",
    "verify",
    "verify_versions",
    "with_names",
]

CODECS = [
    "BY_DTYPE_NAME",
    "Called",
    "DuplicateKeyError",
    "Global",
    "HookValue",
    "Instance",
    "LazyDict",
    "Machine",
    "Member",
    "NotAnObjectError",
    "PACKED_F4",
    "PickledName",
    "PickledObject",
    "Record",
    "RepeatedValue",
    "SafetensorsFile",
    "Sharding",
    "Size",
    "TORCH_ZIP",
    "TorchFile",
    "check_items",
    "check_local_headers",
    "checksums_of",
    "chunk_finder",
    "impostor",
    "metadata_of",
    "only_tensors",
    "parse_object",
    "plain_state",
    "plan_object",
    "plan_safetensors",
    "plan_tensor_item",
    "plan_torch",
    "plan_zip",
    "read_archive",
    "read_object",
    "read_pickle",
    "read_safetensors",
    "read_torch_file",
    "sniff_pickle",
    "sniff_torch",
    "sums_in_file",
    "without_collection",
    "write_objects",
]

LAYOUTS = [
    "COMPUTABLE",
    "CheckpointBuilder",
    "Layout",
    "LayoutTable",
    "NO_TENSORS",
    "candidates",
    "checkpoint_of",
    "component_at",
    "components_of",
    "keyed_components",
    "narrow_bytes",
    "only_path",
    "read_json",
    "read_json_value",
    "step_of_name",
    "step_of_state",
    "wide_numbers",
]

TRAINING = [
    "Checkpointer",
    "EarlyStopping",
    "Effect",
    "ExtraState",
    "IterableLoader",
    "Keep",
    "KeyedDataset",
    "KeyedLoader",
    "KeyedSampler",
    "PlanRow",
    "Pruned",
    "Receipt",
    "ResumePlan",
    "Resumed",
    "Split",
    "StagedSave",
    "load_into",
    "model_state",
    "optimizer_state",
    "plan_resume",
    "prune",
    "purge",
    "run_trainer",
    "seeded_split",
    "state_dict",
    "torch_state",
    "undelete",
    "write_share",
]

FLOORS = [(ckpt_core, PUBLIC), (codecs, CODECS), (layouts, LAYOUTS), (training, TRAINING)]
WORDS = Path(ckpt_core.__file__).parents[1] / "docs" / "design.md"


def test_the_public_names_are_these():
    """A name taken away, or a new one, is a change that users notice: CHANGELOG.md tells them."""
    for package, names in FLOORS:
        assert package.__all__ == names
        assert sorted(package.__all__) == package.__all__
        assert dir(package) == names


@pytest.mark.parametrize(("package", "name"), [(package, name) for package, names in FLOORS for name in names])
def test_each_name_leads_to_the_thing_of_that_name(package, name):
    value = getattr(package, name)
    assert getattr(value, "__name__", name) == name


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = ckpt_core.nonsense


def test_type_checkers_are_told_the_same_names_from_the_same_modules():
    for package, _ in FLOORS:
        assert _told(package) == package._WHERE


def _told(package):
    told = {}
    for node in ast.parse(Path(package.__file__).read_text()).body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for line in node.body:
                assert isinstance(line, ast.ImportFrom)
                told |= {alias.asname: line.module for alias in line.names if alias.asname == alias.name}
    return told


def test_plugins_import_what_is_promised_and_nothing_behind_it():
    promised = {"ckpt_core", "ckpt_core.codecs", "ckpt_core.layouts", "ckpt_core.testing", "ckpt_core.training"}
    promised |= {"ckpt_core.hookspecs"}
    deep = set()
    for source in (Path(ckpt_core.__file__).parents[1] / "plugins").glob("*/src/**/*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "ckpt_core":
                deep |= {node.module} - promised
    assert {name for name in deep if not name.startswith("ckpt_core.laws.")} == set()


def _modules():
    for found in pkgutil.walk_packages(ckpt_core.__path__, "ckpt_core."):
        if not found.name.startswith(("ckpt_core.testing", "ckpt_core.cli")):
            yield importlib.import_module(found.name)


def test_every_error_is_in_the_one_tree_and_public():
    found = {
        value
        for module in _modules()
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, errors.CkptError)
    }
    assert {kind.__module__ for kind in found} == {"ckpt_core.errors"}
    assert {kind.__name__ for kind in found} <= set(PUBLIC)


VERBS = (
    *("certify", "clean", "convert", "copy", "diff", "inspect", "load", "load_into", "locate"),
    *("repair", "save", "seal", "verify"),
    *("bisect", "list_versions", "prune_versions", "publish", "set_alias", "verify_versions"),
)


@pytest.mark.parametrize("verb", VERBS)
def test_what_a_verb_returns_is_public_and_what_that_holds_too(verb):
    answer = inspect.signature(getattr(ckpt_core, verb)).return_annotation
    todo = _classes(answer, importlib.import_module(getattr(ckpt_core, verb).__module__))
    seen = set()
    while todo:
        kind = todo.pop()
        if kind in seen or not kind.__module__.startswith("ckpt_core"):
            continue
        seen.add(kind)
        for annotation in getattr(kind, "__annotations__", {}).values():
            todo |= _classes(annotation, importlib.import_module(kind.__module__))
    assert {kind.__name__ for kind in seen} <= set(PUBLIC) | INNER


INNER = {"OpenPart", "Rearrangement"}
"""Attributes that readers of layouts pass among each other."""


def _classes(annotation, module):
    """The classes of ours that an annotation names."""
    text = (
        annotation if isinstance(annotation, str) else getattr(annotation, "__forward_arg__", None) or repr(annotation)
    )
    words = set(re.findall(r"[A-Za-z_]+", text))
    known = {name: value for name, value in vars(module).items() if isinstance(value, type)}
    known |= {name: getattr(ckpt_core, name) for name in PUBLIC if name in words}
    if isinstance(annotation, type):
        return {annotation}
    return {known[word] for word in words if isinstance(known.get(word), type)}


def _parts(name):
    spread = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name).replace("_", " ")
    return [part.lower() for part in spread.split()]


PLAIN = """
ambiguous an answer archive array at budget by bytes called check checksums candidates choice ckpt collection dict
components computable confidence content corrupt d duplicate error f4 failed file files finder found get global
headers incomplete instance interrupted into items json key keyed kind late line list literal local locked
manager member metadata mismatch name names narrow no not numbers object objects of only opaque
optimizer option overwrite packed parse path pickle plain plan printable progress range read record refused
replaced report safetensors sealing sharding size sniff step tensors torch torchrun totals type
undo unreachable unsafe unsupported usage value version wide with without write zip
in lazy marked pickled remote repeated shell sums timeout
"""
"""Words that mean here what they mean everywhere."""


def test_each_word_of_a_public_name_is_in_the_table_of_words_or_plain():
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", WORDS.read_text(), re.MULTILINE)
    table = {word for row in rows for cell in row.replace("`", "").split(",") for word in _parts(cell)}
    strange = {
        part: name
        for _, names in FLOORS
        for name in names
        for part in _parts(name)
        if part not in table and part not in PLAIN.split()
    }
    assert not strange


GONE = (
    "outline",
    "rank",
    "pieces",
    "watch",
    "together",
    "settle",
    "mend",
    "moved",
    "swallowed",
    "made",
    "same",
    "pairs",
)


@pytest.mark.parametrize("word", GONE)
def test_no_public_name_has_a_word_of_the_old_dialect(word):
    assert [name for _, names in FLOORS for name in names if word in _parts(name)] == []


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
    known = {"ckpt_core", "ckpt_core.lazy", "ckpt_core.version"}
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
