"""The plugin's hooks for sharded layouts.

Each layout is a package; its modules are imported late.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ckpt_core import Format, FormatOption, LocationKind, hookimpl
from ckpt_core.layouts import Layout, LayoutTable

if TYPE_CHECKING:
    from ckpt_core import (
        Checkpoint,
        Files,
        Finding,
        FormatMatch,
        Irreparable,
        LoadRequest,
        Manifest,
        RepairAction,
        Target,
        VerifyReport,
        VerifyRequest,
    )

_LAYOUTS = LayoutTable(
    Layout("bagel", "ckpt_fsdp.bagel", ("metadata.json", "data_status.pt", "optimizer.", "_rank"), checks=True),
    Layout("dcp", "ckpt_fsdp.dcp", (".metadata", ".distcp"), checks=True, repairs=True),
    Layout("dcp-safetensors", "ckpt_fsdp.hf_shards", ("shard-",), checks=True),
    Layout("deepspeed", "ckpt_fsdp.deepspeed", ("_states.pt", "fp32.pt", "latest"), checks=True, repairs=True),
    Layout("fsdp", "ckpt_fsdp.accelerate", ("pytorch_model_fsdp", "optimizer_"), checks=True),
    Layout("fsdp-ranks", "ckpt_fsdp.ranks", (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".tar"), checks=True),
    Layout("lightning-fsdp", "ckpt_fsdp.lightning", (".metadata", ".distcp"), checks=True),
    Layout("llama", "ckpt_fsdp.llama", ("consolidated.",), checks=True),
    Layout("megatron-dist", "ckpt_fsdp.megatron_dist", ("metadata.json",), checks=True),
    Layout("model-parallel", "ckpt_fsdp.model_parallel", (".pt", ".pth", ".bin", ".ckpt")),
    Layout("numbered-shards", "ckpt_fsdp.numbered", (".safetensors", ".pt", ".pth", ".bin", ".ckpt"), checks=True),
)
"""Of a layout without `checks` all is checked when it is opened, or as what its parts are."""

_WORLD_SIZE = "how many ranks wrote the shards: no file says it, and it proves that none is missing at the end"


@hookimpl
def formats() -> tuple[Format, ...]:
    return (
        Format("bagel", "a step of BAGEL's training: sharded with metadata.json, a file a rank, or whole", base="hf"),
        Format(
            "dcp",
            "a directory that torch.distributed.checkpoint wrote: .metadata and .distcp files",
            options=(
                FormatOption("ranks", "over the files of how many ranks tensors are spread (1)", int, reads=False),
                FormatOption("flat", "keys of a model without `model.` before them", bool, reads=False),
            ),
            writes=LocationKind.DIRECTORY,
        ),
        Format(
            "dcp-safetensors",
            "shards that DCP's HuggingFaceStorageWriter wrote: shard-00001-model-00001-of-00001.safetensors, …",
            options=(FormatOption("world_size", _WORLD_SIZE, int, writes=False),),
        ),
        Format("deepspeed", "a DeepSpeed checkpoint: a tag directory of ZeRO stage 0 to 3, or a universal one"),
        Format(
            "fsdp",
            "what Accelerate saves under FSDP: pytorch_model_fsdp_0/, optimizer_0/, and files beside",
        ),
        Format("fsdp-ranks", "a torch file a rank with DTensors, as verl writes: model_world_size_4_rank_0.pt, …"),
        Format("lightning-fsdp", "a directory that Lightning's sharding strategies wrote: DCP and meta.pt", base="dcp"),
        Format("llama", "Meta's own layout of LLaMA: params.json and consolidated.00.pth, …, merged by its rules"),
        Format("megatron-dist", "Megatron-LM's distributed checkpoints: DCP's files and common.pt", base="dcp"),
        Format(
            "model-parallel",
            "a file for each rank of model parallelism, as Megatron-LM writes: iter_0000100/mp_rank_00_001/, …",
        ),
        Format("numbered-shards", "one model in numbered files, each with tensors of its own: part_0.safetensors, …"),
    )


@hookimpl
def detect_format(files: "Files") -> "Iterator[FormatMatch]":
    return _LAYOUTS.find(files)


@hookimpl
def load(files: "Files", match: "FormatMatch", request: "LoadRequest") -> "Checkpoint":
    return _LAYOUTS.read(files, match, request)


@hookimpl
def save(checkpoint: "Checkpoint", target: "Target") -> "Manifest":
    return _LAYOUTS.write(checkpoint, target)


@hookimpl
def verify(files: "Files", checkpoint: "Checkpoint | None", request: "VerifyRequest") -> "Iterator[Finding]":
    yield from _LAYOUTS.check(files, checkpoint, request)
    if checkpoint is not None and checkpoint.match.parts:
        from ckpt_fsdp.deepspeed.latest import check_parts

        yield from check_parts(files, checkpoint)


@hookimpl
def repair(files: "Files", report: "VerifyReport") -> "Iterator[RepairAction | Irreparable]":
    return _LAYOUTS.propose(files, report)
