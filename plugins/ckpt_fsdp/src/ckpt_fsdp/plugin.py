"""The hooks: sharded layouts found, read, written, checked. Each layout is a package; its modules are imported late."""

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ckpt_core import Format, FormatOption, Kind, hookimpl

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
        StoredCheckpoint,
        Target,
        VerifyReport,
        VerifyRequest,
    )

_LAYOUTS = {
    "bagel": "bagel",
    "dcp": "dcp",
    "dcp-safetensors": "hf_shards",
    "deepspeed": "deepspeed",
    "fsdp": "accelerate",
    "fsdp-ranks": "ranks",
    "lightning-fsdp": "lightning",
    "llama": "llama",
    "megatron-dist": "megatron_dist",
    "model-parallel": "model_parallel",
    "numbered-shards": "numbered",
}
"""The package of each format. A hook calls one function of one module in it, which is imported then:
`detection.find(files)`, `opening.read(files, match, request)`, `checks.check(files, checkpoint, request)`; where the
format can be written `writing.write(checkpoint, target)`, and where it can be mended `mending.mend(files, report)`."""

_SIGNS = {
    "bagel": ("metadata.json", "data_status.pt", "optimizer.", "_rank"),
    "dcp": (".metadata", ".distcp"),
    "dcp-safetensors": ("shard-",),
    "deepspeed": ("_states.pt", "fp32.pt", "latest"),
    "fsdp": ("pytorch_model_fsdp", "optimizer_"),
    "fsdp-ranks": (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".tar"),
    "lightning-fsdp": (".metadata", ".distcp"),
    "llama": ("consolidated.",),
    "megatron-dist": ("metadata.json",),
    "model-parallel": (".pt", ".pth", ".bin", ".ckpt"),
    "numbered-shards": (".safetensors", ".pt", ".pth", ".bin", ".ckpt"),
}
"""Of each format: every such directory has a path with one of these in it. Its rules are only imported where one is."""

_CHECKED = [name for name in _LAYOUTS if name not in ("fsdp", "model-parallel")]
"""Formats with `checks`; of the others all is checked when they are opened, or as what their parts are."""

_MENDED = ("dcp", "deepspeed")

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
            writes=Kind.DIRECTORY,
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
    if files.location.kind is Kind.FILE:
        return
    paths = "\n".join((*files.entries, *files.skipped))
    for name, signs in _SIGNS.items():
        if any(sign in paths for sign in signs):
            yield from _module(name, "detection").find(files)


@hookimpl
def load(files: "Files", match: "FormatMatch", request: "LoadRequest") -> "StoredCheckpoint":
    checkpoint: StoredCheckpoint = _module(match.format, "opening").read(files, match, request)
    return checkpoint


@hookimpl
def save(checkpoint: "Checkpoint", target: "Target") -> "Manifest":
    manifest: Manifest = _module(target.format, "writing").write(checkpoint, target)
    return manifest


@hookimpl
def verify(files: "Files", checkpoint: "Checkpoint | None", request: "VerifyRequest") -> "Iterable[Finding]":
    """What the layout itself checks. A checkpoint that did not open is asked of every layout that claims it."""
    for name in _CHECKED:
        if checkpoint is None or checkpoint.match.format == name:
            yield from _module(name, "checks").check(files, checkpoint, request)
    if checkpoint is not None and checkpoint.match.parts:
        yield from _module("deepspeed", "latest").check_parts(files, checkpoint)


@hookimpl
def repair(files: "Files", report: "VerifyReport") -> "Iterator[RepairAction | Irreparable]":
    for name in _MENDED:
        yield from _module(name, "mending").mend(files, report)


def _module(format: str, name: str) -> Any:
    return import_module(f"ckpt_fsdp.{_LAYOUTS[format]}.{name}")
