"""The hooks: Hugging Face model directories found, read and checked. Heavy modules are imported when asked for."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ckpt_core import Format, FormatOption, hookimpl

if TYPE_CHECKING:
    from ckpt_core import Checkpoint, Files, Finding, FormatMatch, LoadRequest, StoredCheckpoint, VerifyRequest


@hookimpl
def formats() -> tuple[Format, ...]:
    return (
        Format(
            "hf",
            "a Hugging Face model directory: config.json and one file, or shards and an index, .safetensors or .bin",
            options=(FormatOption("variant", "weights of this variant: fp16 for model.fp16.safetensors"),),
        ),
    )


@hookimpl
def detect_format(files: "Files") -> "Iterator[FormatMatch]":
    from ckpt_hf.detection import find_models

    return find_models(files)


@hookimpl
def load(files: "Files", match: "FormatMatch", request: "LoadRequest") -> "StoredCheckpoint":
    from ckpt_hf.opening import open_model

    return open_model(files, match, request)


@hookimpl
def verify(files: "Files", checkpoint: "Checkpoint | None", request: "VerifyRequest") -> "Iterable[Finding] | None":
    from ckpt_hf.checks import check_model

    return check_model(files, checkpoint, request)
