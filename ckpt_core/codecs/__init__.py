"""Byte formats, read without torch.

They are safetensors, torch files old and new, and the pickles in them. Plugin authors may count on what is in
`__all__`, imported on first use; the modules behind it may change.
"""

from typing import TYPE_CHECKING

from ckpt_core.lazy import lazy_names

_WHERE = {
    "BY_DTYPE_NAME": "ckpt_core.codecs.torch_dtypes",
    "Called": "ckpt_core.codecs.pickle.object_writer",
    "DuplicateKeyError": "ckpt_core.codecs.strict_json",
    "Global": "ckpt_core.codecs.pickle.object_writer",
    "HookValue": "ckpt_core.codecs.pickle.machine",
    "Instance": "ckpt_core.codecs.pickle.object_writer",
    "LazyDict": "ckpt_core.codecs.pickle.object_writer",
    "Machine": "ckpt_core.codecs.pickle.machine",
    "Member": "ckpt_core.codecs.zip.directory",
    "NotAnObjectError": "ckpt_core.codecs.strict_json",
    "PACKED_F4": "ckpt_core.codecs.torch_dtypes",
    "PickledName": "ckpt_core.codecs.pickle.machine",
    "PickledObject": "ckpt_core.codecs.pickle.machine",
    "Record": "ckpt_core.codecs.zip.writer",
    "RepeatedValue": "ckpt_core.codecs.pickle.object_writer",
    "SafetensorsFile": "ckpt_core.codecs.safetensors.reader",
    "Sharding": "ckpt_core.codecs.pickle.sharded_tensors",
    "Size": "ckpt_core.codecs.pickle.torch_types",
    "TORCH_ZIP": "ckpt_core.codecs.torch.items",
    "TorchFile": "ckpt_core.codecs.torch.file",
    "check_items": "ckpt_core.codecs.torch.item_checks",
    "check_local_headers": "ckpt_core.codecs.zip.checks",
    "checksums_of": "ckpt_core.codecs.zip.checks",
    "chunk_finder": "ckpt_core.codecs.torch.items",
    "impostor": "ckpt_core.codecs.foreign.impostors",
    "metadata_of": "ckpt_core.codecs.safetensors.writer",
    "only_tensors": "ckpt_core.codecs.single_table",
    "parse_object": "ckpt_core.codecs.strict_json",
    "plain_state": "ckpt_core.codecs.single_table",
    "plan_object": "ckpt_core.codecs.torch.writer",
    "plan_safetensors": "ckpt_core.codecs.safetensors.writer",
    "plan_tensor_item": "ckpt_core.codecs.torch.item_writer",
    "plan_torch": "ckpt_core.codecs.torch.writer",
    "plan_zip": "ckpt_core.codecs.zip.writer",
    "read_archive": "ckpt_core.codecs.zip.directory",
    "read_object": "ckpt_core.codecs.torch.items",
    "read_pickle": "ckpt_core.codecs.pickle.reader",
    "read_safetensors": "ckpt_core.codecs.safetensors.reader",
    "read_torch_file": "ckpt_core.codecs.torch.reader",
    "sniff_pickle": "ckpt_core.codecs.torch.reader",
    "sniff_torch": "ckpt_core.codecs.heads.torch",
    "sums_in_file": "ckpt_core.codecs.torch.items",
    "without_collection": "ckpt_core.codecs.gc_pause",
    "write_objects": "ckpt_core.codecs.pickle.object_writer",
}

__all__ = sorted(_WHERE)  # noqa: PLE0605 - tests/test_public_names.py pins it

if TYPE_CHECKING:
    from ckpt_core.codecs.foreign.impostors import impostor as impostor
    from ckpt_core.codecs.gc_pause import without_collection as without_collection
    from ckpt_core.codecs.heads.torch import sniff_torch as sniff_torch
    from ckpt_core.codecs.pickle.machine import HookValue as HookValue
    from ckpt_core.codecs.pickle.machine import Machine as Machine
    from ckpt_core.codecs.pickle.machine import PickledName as PickledName
    from ckpt_core.codecs.pickle.machine import PickledObject as PickledObject
    from ckpt_core.codecs.pickle.object_writer import Called as Called
    from ckpt_core.codecs.pickle.object_writer import Global as Global
    from ckpt_core.codecs.pickle.object_writer import Instance as Instance
    from ckpt_core.codecs.pickle.object_writer import LazyDict as LazyDict
    from ckpt_core.codecs.pickle.object_writer import RepeatedValue as RepeatedValue
    from ckpt_core.codecs.pickle.object_writer import write_objects as write_objects
    from ckpt_core.codecs.pickle.reader import read_pickle as read_pickle
    from ckpt_core.codecs.pickle.sharded_tensors import Sharding as Sharding
    from ckpt_core.codecs.pickle.torch_types import Size as Size
    from ckpt_core.codecs.safetensors.reader import SafetensorsFile as SafetensorsFile
    from ckpt_core.codecs.safetensors.reader import read_safetensors as read_safetensors
    from ckpt_core.codecs.safetensors.writer import metadata_of as metadata_of
    from ckpt_core.codecs.safetensors.writer import plan_safetensors as plan_safetensors
    from ckpt_core.codecs.single_table import only_tensors as only_tensors
    from ckpt_core.codecs.single_table import plain_state as plain_state
    from ckpt_core.codecs.strict_json import DuplicateKeyError as DuplicateKeyError
    from ckpt_core.codecs.strict_json import NotAnObjectError as NotAnObjectError
    from ckpt_core.codecs.strict_json import parse_object as parse_object
    from ckpt_core.codecs.torch.file import TorchFile as TorchFile
    from ckpt_core.codecs.torch.item_checks import check_items as check_items
    from ckpt_core.codecs.torch.item_writer import plan_tensor_item as plan_tensor_item
    from ckpt_core.codecs.torch.items import TORCH_ZIP as TORCH_ZIP
    from ckpt_core.codecs.torch.items import chunk_finder as chunk_finder
    from ckpt_core.codecs.torch.items import read_object as read_object
    from ckpt_core.codecs.torch.items import sums_in_file as sums_in_file
    from ckpt_core.codecs.torch.reader import read_torch_file as read_torch_file
    from ckpt_core.codecs.torch.reader import sniff_pickle as sniff_pickle
    from ckpt_core.codecs.torch.writer import plan_object as plan_object
    from ckpt_core.codecs.torch.writer import plan_torch as plan_torch
    from ckpt_core.codecs.torch_dtypes import BY_DTYPE_NAME as BY_DTYPE_NAME
    from ckpt_core.codecs.torch_dtypes import PACKED_F4 as PACKED_F4
    from ckpt_core.codecs.zip.checks import check_local_headers as check_local_headers
    from ckpt_core.codecs.zip.checks import checksums_of as checksums_of
    from ckpt_core.codecs.zip.directory import Member as Member
    from ckpt_core.codecs.zip.directory import read_archive as read_archive
    from ckpt_core.codecs.zip.writer import Record as Record
    from ckpt_core.codecs.zip.writer import plan_zip as plan_zip
else:
    __getattr__, __dir__ = lazy_names(__name__, _WHERE)
