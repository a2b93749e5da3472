"""ckpt: find, look inside, prove and load model checkpoints.

Everything public is here, imported on first use.
"""

from typing import TYPE_CHECKING

from ckpt_core.lazy import lazy_names
from ckpt_core.version import __version__ as __version__

_WHERE = {
    "AmbiguousFormatError": "ckpt_core.errors",
    "AmbiguousRunError": "ckpt_core.errors",
    "Array": "ckpt_core.schema.state",
    "Assessment": "ckpt_core.schema.profiles",
    "AssessmentLine": "ckpt_core.schema.profiles",
    "Asset": "ckpt_core.schema.manifests",
    "AssetBytes": "ckpt_core.schema.plans",
    "Attempt": "ckpt_core.schema.locations",
    "BaseMismatchError": "ckpt_core.errors",
    "BaseModel": "ckpt_core.verbs.conversion_request",
    "Bisection": "ckpt_core.verbs.versions.bisect",
    "BudgetError": "ckpt_core.errors",
    "ByteRange": "ckpt_core.schema.tensors",
    "Candidate": "ckpt_core.schema.locations",
    "Certificate": "ckpt_core.schema.side_files.seals",
    "Checkpoint": "ckpt_core.schema.access",
    "CheckpointNotFoundError": "ckpt_core.errors",
    "Checksum": "ckpt_core.schema.byte_consumers",
    "Choice": "ckpt_core.schema.locations",
    "Chunk": "ckpt_core.schema.tensors",
    "CkptError": "ckpt_core.errors",
    "CkptPluginManager": "ckpt_core.manager.plugin_manager",
    "CleanReport": "ckpt_core.verbs.moving.clean",
    "Component": "ckpt_core.schema.manifests",
    "ConditionFailedError": "ckpt_core.errors",
    "Confidence": "ckpt_core.schema.formats",
    "Conversion": "ckpt_core.verbs.convert",
    "CopyReport": "ckpt_core.verbs.moving.copy",
    "CorruptError": "ckpt_core.errors",
    "DType": "ckpt_core.schema.dtypes",
    "Depth": "ckpt_core.schema.verification",
    "Detection": "ckpt_core.schema.formats",
    "DiffReport": "ckpt_core.verbs.diff",
    "Difference": "ckpt_core.reading.comparison",
    "Encoding": "ckpt_core.schema.tensors",
    "FileEntry": "ckpt_core.schema.access",
    "FilePlan": "ckpt_core.schema.plans",
    "FileSeal": "ckpt_core.schema.side_files.seals",
    "Files": "ckpt_core.schema.access",
    "Finding": "ckpt_core.schema.findings",
    "Fit": "ckpt_core.reading.base_model.fit",
    "Forecast": "ckpt_core.verbs.forecast",
    "Format": "ckpt_core.schema.formats",
    "FormatError": "ckpt_core.errors",
    "FormatMatch": "ckpt_core.schema.formats",
    "FormatOption": "ckpt_core.schema.formats",
    "Hooks": "ckpt_core.hookspecs",
    "IncompleteError": "ckpt_core.errors",
    "Inspection": "ckpt_core.verbs.inspect",
    "Irreparable": "ckpt_core.schema.repairs",
    "LateBytes": "ckpt_core.schema.plans",
    "LeftBehind": "ckpt_core.verbs.moving.clean",
    "Literal": "ckpt_core.schema.plans",
    "LoadError": "ckpt_core.errors",
    "LoadInterruptedError": "ckpt_core.errors",
    "LoadRefusedError": "ckpt_core.errors",
    "LoadReport": "ckpt_core.verbs.load_into",
    "LoadRequest": "ckpt_core.schema.formats",
    "LocateError": "ckpt_core.errors",
    "Location": "ckpt_core.schema.locations",
    "LocationKind": "ckpt_core.schema.locations",
    "LockedError": "ckpt_core.errors",
    "Manifest": "ckpt_core.schema.manifests",
    "Mismatch": "ckpt_core.reading.base_model.fit",
    "NoAnswerError": "ckpt_core.errors",
    "Opaque": "ckpt_core.schema.state",
    "Operation": "ckpt_core.schema.repairs",
    "Outcome": "ckpt_core.schema.locations",
    "OverwriteError": "ckpt_core.errors",
    "Part": "ckpt_core.schema.formats",
    "Place": "ckpt_core.verbs.load",
    "PluginError": "ckpt_core.errors",
    "PluginStatus": "ckpt_core.manager.plugin_manager",
    "Presence": "ckpt_core.schema.roles",
    "Priority": "ckpt_core.schema.locations",
    "Profile": "ckpt_core.schema.roles",
    "Progress": "ckpt_core.schema.access",
    "PrunedVersions": "ckpt_core.verbs.versions.prune",
    "Published": "ckpt_core.verbs.versions.publish",
    "Query": "ckpt_core.schema.locations",
    "Ranks": "ckpt_core.storage.ranks.ranks",
    "Repair": "ckpt_core.verbs.repair_plan",
    "RepairAction": "ckpt_core.schema.repairs",
    "RepairPlan": "ckpt_core.schema.repairs",
    "RepairRequest": "ckpt_core.schema.repairs",
    "ReplacedError": "ckpt_core.errors",
    "Resolution": "ckpt_core.schema.locations",
    "Retention": "ckpt_core.verbs.versions.prune",
    "Role": "ckpt_core.schema.roles",
    "RunOptions": "ckpt_core.verbs.conversion_request",
    "Sampling": "ckpt_core.schema.verification",
    "SaveReport": "ckpt_core.verbs.save",
    "Seal": "ckpt_core.schema.side_files.seals",
    "Sealing": "ckpt_core.verbs.seal",
    "Selection": "ckpt_core.verbs.conversion_request",
    "Severity": "ckpt_core.schema.findings",
    "State": "ckpt_core.schema.state",
    "StoredCheckpoint": "ckpt_core.reading.checkpoints",
    "Target": "ckpt_core.schema.access",
    "TensorBytes": "ckpt_core.schema.plans",
    "TensorDifference": "ckpt_core.verbs.diff",
    "TensorEntry": "ckpt_core.schema.tensors",
    "TensorInfo": "ckpt_core.schema.tensors",
    "TensorRef": "ckpt_core.schema.state",
    "TensorTable": "ckpt_core.schema.tensors",
    "Totals": "ckpt_core.verbs.inspect",
    "Uncast": "ckpt_core.reading.casting.rules",
    "UnreachableError": "ckpt_core.errors",
    "UnsafeContentError": "ckpt_core.errors",
    "UnsupportedFormatError": "ckpt_core.errors",
    "UsageError": "ckpt_core.errors",
    "Verdict": "ckpt_core.schema.profiles",
    "Verification": "ckpt_core.verbs.verify",
    "VerifyReport": "ckpt_core.schema.verification",
    "VerifyRequest": "ckpt_core.schema.verification",
    "VersionList": "ckpt_core.verbs.versions.history",
    "VersionRecord": "ckpt_core.storage.versions.record",
    "VersionsReport": "ckpt_core.verbs.versions.prove",
    "WritePlan": "ckpt_core.schema.plans",
    "argument": "ckpt_core.arguments",
    "bisect": "ckpt_core.verbs.versions.bisect",
    "certify": "ckpt_core.verbs.certify",
    "clean": "ckpt_core.verbs.moving.clean",
    "convert": "ckpt_core.verbs.convert",
    "copy": "ckpt_core.verbs.moving.copy",
    "diff": "ckpt_core.verbs.diff",
    "fingerprint": "ckpt_core.reading.digests",
    "get_plugin_manager": "ckpt_core.manager.plugin_manager",
    "hookimpl": "ckpt_core.hookspecs",
    "in_shell": "ckpt_core.arguments",
    "inspect": "ckpt_core.verbs.inspect",
    "list_files": "ckpt_core.storage.listing",
    "list_versions": "ckpt_core.verbs.versions.history",
    "load": "ckpt_core.verbs.load",
    "load_into": "ckpt_core.verbs.load_into",
    "locate": "ckpt_core.verbs.locate",
    "marked": "ckpt_core.arguments",
    "option": "ckpt_core.arguments",
    "printable": "ckpt_core.schema.text",
    "prune_versions": "ckpt_core.verbs.versions.prune",
    "publish": "ckpt_core.verbs.versions.publish",
    "read_seal": "ckpt_core.storage.sealing",
    "remote_timeout": "ckpt_core.knobs",
    "repair": "ckpt_core.verbs.repair",
    "save": "ckpt_core.verbs.save",
    "scale_names": "ckpt_core.reading.casting.scales",
    "seal": "ckpt_core.verbs.seal",
    "set_alias": "ckpt_core.verbs.versions.history",
    "tensor_names": "ckpt_core.schema.state",
    "torch_dtype": "ckpt_core.reading.torch.memory",
    "torchrun_ranks": "ckpt_core.storage.ranks.torchrun",
    "undo_repair": "ckpt_core.verbs.repair",
    "verify": "ckpt_core.verbs.verify",
    "verify_versions": "ckpt_core.verbs.versions.prove",
    "with_names": "ckpt_core.schema.state",
}

__all__ = sorted([*_WHERE, "__version__"])  # noqa: PLE0605 - tests/test_public_names.py pins it

if TYPE_CHECKING:
    from ckpt_core.arguments import argument as argument
    from ckpt_core.arguments import in_shell as in_shell
    from ckpt_core.arguments import marked as marked
    from ckpt_core.arguments import option as option
    from ckpt_core.errors import AmbiguousFormatError as AmbiguousFormatError
    from ckpt_core.errors import AmbiguousRunError as AmbiguousRunError
    from ckpt_core.errors import BaseMismatchError as BaseMismatchError
    from ckpt_core.errors import BudgetError as BudgetError
    from ckpt_core.errors import CheckpointNotFoundError as CheckpointNotFoundError
    from ckpt_core.errors import CkptError as CkptError
    from ckpt_core.errors import ConditionFailedError as ConditionFailedError
    from ckpt_core.errors import CorruptError as CorruptError
    from ckpt_core.errors import FormatError as FormatError
    from ckpt_core.errors import IncompleteError as IncompleteError
    from ckpt_core.errors import LoadError as LoadError
    from ckpt_core.errors import LoadInterruptedError as LoadInterruptedError
    from ckpt_core.errors import LoadRefusedError as LoadRefusedError
    from ckpt_core.errors import LocateError as LocateError
    from ckpt_core.errors import LockedError as LockedError
    from ckpt_core.errors import NoAnswerError as NoAnswerError
    from ckpt_core.errors import OverwriteError as OverwriteError
    from ckpt_core.errors import PluginError as PluginError
    from ckpt_core.errors import ReplacedError as ReplacedError
    from ckpt_core.errors import UnreachableError as UnreachableError
    from ckpt_core.errors import UnsafeContentError as UnsafeContentError
    from ckpt_core.errors import UnsupportedFormatError as UnsupportedFormatError
    from ckpt_core.errors import UsageError as UsageError
    from ckpt_core.hookspecs import Hooks as Hooks
    from ckpt_core.hookspecs import hookimpl as hookimpl
    from ckpt_core.knobs import remote_timeout as remote_timeout
    from ckpt_core.manager.plugin_manager import CkptPluginManager as CkptPluginManager
    from ckpt_core.manager.plugin_manager import PluginStatus as PluginStatus
    from ckpt_core.manager.plugin_manager import get_plugin_manager as get_plugin_manager
    from ckpt_core.reading.base_model.fit import Fit as Fit
    from ckpt_core.reading.base_model.fit import Mismatch as Mismatch
    from ckpt_core.reading.casting.rules import Uncast as Uncast
    from ckpt_core.reading.casting.scales import scale_names as scale_names
    from ckpt_core.reading.checkpoints import StoredCheckpoint as StoredCheckpoint
    from ckpt_core.reading.comparison import Difference as Difference
    from ckpt_core.reading.digests import fingerprint as fingerprint
    from ckpt_core.reading.torch.memory import torch_dtype as torch_dtype
    from ckpt_core.schema.access import Checkpoint as Checkpoint
    from ckpt_core.schema.access import FileEntry as FileEntry
    from ckpt_core.schema.access import Files as Files
    from ckpt_core.schema.access import Progress as Progress
    from ckpt_core.schema.access import Target as Target
    from ckpt_core.schema.byte_consumers import Checksum as Checksum
    from ckpt_core.schema.dtypes import DType as DType
    from ckpt_core.schema.findings import Finding as Finding
    from ckpt_core.schema.findings import Severity as Severity
    from ckpt_core.schema.formats import Confidence as Confidence
    from ckpt_core.schema.formats import Detection as Detection
    from ckpt_core.schema.formats import Format as Format
    from ckpt_core.schema.formats import FormatMatch as FormatMatch
    from ckpt_core.schema.formats import FormatOption as FormatOption
    from ckpt_core.schema.formats import LoadRequest as LoadRequest
    from ckpt_core.schema.formats import Part as Part
    from ckpt_core.schema.locations import Attempt as Attempt
    from ckpt_core.schema.locations import Candidate as Candidate
    from ckpt_core.schema.locations import Choice as Choice
    from ckpt_core.schema.locations import Location as Location
    from ckpt_core.schema.locations import LocationKind as LocationKind
    from ckpt_core.schema.locations import Outcome as Outcome
    from ckpt_core.schema.locations import Priority as Priority
    from ckpt_core.schema.locations import Query as Query
    from ckpt_core.schema.locations import Resolution as Resolution
    from ckpt_core.schema.manifests import Asset as Asset
    from ckpt_core.schema.manifests import Component as Component
    from ckpt_core.schema.manifests import Manifest as Manifest
    from ckpt_core.schema.plans import AssetBytes as AssetBytes
    from ckpt_core.schema.plans import FilePlan as FilePlan
    from ckpt_core.schema.plans import LateBytes as LateBytes
    from ckpt_core.schema.plans import Literal as Literal
    from ckpt_core.schema.plans import TensorBytes as TensorBytes
    from ckpt_core.schema.plans import WritePlan as WritePlan
    from ckpt_core.schema.profiles import Assessment as Assessment
    from ckpt_core.schema.profiles import AssessmentLine as AssessmentLine
    from ckpt_core.schema.profiles import Verdict as Verdict
    from ckpt_core.schema.repairs import Irreparable as Irreparable
    from ckpt_core.schema.repairs import Operation as Operation
    from ckpt_core.schema.repairs import RepairAction as RepairAction
    from ckpt_core.schema.repairs import RepairPlan as RepairPlan
    from ckpt_core.schema.repairs import RepairRequest as RepairRequest
    from ckpt_core.schema.roles import Presence as Presence
    from ckpt_core.schema.roles import Profile as Profile
    from ckpt_core.schema.roles import Role as Role
    from ckpt_core.schema.side_files.seals import Certificate as Certificate
    from ckpt_core.schema.side_files.seals import FileSeal as FileSeal
    from ckpt_core.schema.side_files.seals import Seal as Seal
    from ckpt_core.schema.state import Array as Array
    from ckpt_core.schema.state import Opaque as Opaque
    from ckpt_core.schema.state import State as State
    from ckpt_core.schema.state import TensorRef as TensorRef
    from ckpt_core.schema.state import tensor_names as tensor_names
    from ckpt_core.schema.state import with_names as with_names
    from ckpt_core.schema.tensors import ByteRange as ByteRange
    from ckpt_core.schema.tensors import Chunk as Chunk
    from ckpt_core.schema.tensors import Encoding as Encoding
    from ckpt_core.schema.tensors import TensorEntry as TensorEntry
    from ckpt_core.schema.tensors import TensorInfo as TensorInfo
    from ckpt_core.schema.tensors import TensorTable as TensorTable
    from ckpt_core.schema.text import printable as printable
    from ckpt_core.schema.verification import Depth as Depth
    from ckpt_core.schema.verification import Sampling as Sampling
    from ckpt_core.schema.verification import VerifyReport as VerifyReport
    from ckpt_core.schema.verification import VerifyRequest as VerifyRequest
    from ckpt_core.storage.listing import list_files as list_files
    from ckpt_core.storage.ranks.ranks import Ranks as Ranks
    from ckpt_core.storage.ranks.torchrun import torchrun_ranks as torchrun_ranks
    from ckpt_core.storage.sealing import read_seal as read_seal
    from ckpt_core.storage.versions.record import VersionRecord as VersionRecord
    from ckpt_core.verbs.certify import certify as certify
    from ckpt_core.verbs.conversion_request import BaseModel as BaseModel
    from ckpt_core.verbs.conversion_request import RunOptions as RunOptions
    from ckpt_core.verbs.conversion_request import Selection as Selection
    from ckpt_core.verbs.convert import Conversion as Conversion
    from ckpt_core.verbs.convert import convert as convert
    from ckpt_core.verbs.diff import DiffReport as DiffReport
    from ckpt_core.verbs.diff import TensorDifference as TensorDifference
    from ckpt_core.verbs.diff import diff as diff
    from ckpt_core.verbs.forecast import Forecast as Forecast
    from ckpt_core.verbs.inspect import Inspection as Inspection
    from ckpt_core.verbs.inspect import Totals as Totals
    from ckpt_core.verbs.inspect import inspect as inspect
    from ckpt_core.verbs.load import Place as Place
    from ckpt_core.verbs.load import load as load
    from ckpt_core.verbs.load_into import LoadReport as LoadReport
    from ckpt_core.verbs.load_into import load_into as load_into
    from ckpt_core.verbs.locate import locate as locate
    from ckpt_core.verbs.moving.clean import CleanReport as CleanReport
    from ckpt_core.verbs.moving.clean import LeftBehind as LeftBehind
    from ckpt_core.verbs.moving.clean import clean as clean
    from ckpt_core.verbs.moving.copy import CopyReport as CopyReport
    from ckpt_core.verbs.moving.copy import copy as copy
    from ckpt_core.verbs.repair import repair as repair
    from ckpt_core.verbs.repair import undo_repair as undo_repair
    from ckpt_core.verbs.repair_plan import Repair as Repair
    from ckpt_core.verbs.save import SaveReport as SaveReport
    from ckpt_core.verbs.save import save as save
    from ckpt_core.verbs.seal import Sealing as Sealing
    from ckpt_core.verbs.seal import seal as seal
    from ckpt_core.verbs.verify import Verification as Verification
    from ckpt_core.verbs.verify import verify as verify
    from ckpt_core.verbs.versions.bisect import Bisection as Bisection
    from ckpt_core.verbs.versions.bisect import bisect as bisect
    from ckpt_core.verbs.versions.history import VersionList as VersionList
    from ckpt_core.verbs.versions.history import list_versions as list_versions
    from ckpt_core.verbs.versions.history import set_alias as set_alias
    from ckpt_core.verbs.versions.prove import VersionsReport as VersionsReport
    from ckpt_core.verbs.versions.prove import verify_versions as verify_versions
    from ckpt_core.verbs.versions.prune import PrunedVersions as PrunedVersions
    from ckpt_core.verbs.versions.prune import Retention as Retention
    from ckpt_core.verbs.versions.prune import prune_versions as prune_versions
    from ckpt_core.verbs.versions.publish import Published as Published
    from ckpt_core.verbs.versions.publish import publish as publish
else:
    __getattr__, __dir__ = lazy_names(__name__, _WHERE)
