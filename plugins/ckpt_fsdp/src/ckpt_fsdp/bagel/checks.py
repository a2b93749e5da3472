"""Compares a training directory with its metadata.json and names.

metadata.json is written before the shards: that it is there proves nothing.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ckpt_core import (
    Checkpoint,
    CkptError,
    Component,
    Files,
    Finding,
    Severity,
    StoredCheckpoint,
    VerifyRequest,
    printable,
)
from ckpt_core.codecs import read_safetensors
from ckpt_fsdp.bagel.detection import find, sharded_metadata
from ckpt_fsdp.bagel_names import COPY, DATA, METADATA, SCHEDULER, SINGLE, DirectoryContent, step_of, survey
from ckpt_fsdp.config_checks import check_config
from ckpt_fsdp.ranks.checks import check as check_ranks
from ckpt_fsdp.ranks.missing import missing_of

_LANGUAGE_CONFIG = "llm_config.json"
"""What BAGEL builds the language model from; its vit_config.json counts a layer more than there are."""

_HINT = "the save may not have ended, or the copy: use an earlier step, or copy it again"


def check(files: Files, checkpoint: Checkpoint | None, request: VerifyRequest) -> Iterator[Finding]:
    """Yield what is wrong with a training directory.

    Findings about its tables are core's.
    """
    if checkpoint is None and not any(match.root == "" for match in find(files)):
        return
    content = survey(files.entries).get("", DirectoryContent())
    facts = sharded_metadata(files, "", content)
    if facts is not None:
        yield from _broken_promises(content, facts)
        yield from _wrong_ranks(content, facts)
        yield from _other_step(files, facts)
    yield from _missing_shards(content)
    if isinstance(checkpoint, StoredCheckpoint):
        yield from _short_data_status(checkpoint, content, facts or {})
        yield from _second_weights(files, checkpoint, content)
        yield from check_ranks(files, checkpoint, request)
    yield from check_config(files, checkpoint, request, _LANGUAGE_CONFIG, within="language_model.")


def _broken_promises(content: DirectoryContent, facts: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield BG001 for what metadata.json promises and is missing."""
    there = {
        "checkpoint_type": ("the model's shards", "model" in content.sharded or "model" in content.ranks),
        "has_ema": ("the EMA's shards", "ema" in content.sharded or "ema" in content.ranks),
        "has_scheduler": (SCHEDULER, SCHEDULER in content.others),
        "has_data_status": (DATA, DATA in content.others),
    }
    for key, (what, is_there) in there.items():
        if facts.get(key) and not is_there:
            message = f"{METADATA}: {key} says that {what} must be here, and that is not so"
            yield Finding("BG001", Severity.ERROR, message, METADATA, hint=_HINT)
    if "optimizer" not in content.ranks:
        message = f"{METADATA}: no optimizer_rank00000.pt is here, and every such save writes one"
        yield Finding("BG001", Severity.ERROR, message, METADATA, hint=_HINT)


def _wrong_ranks(content: DirectoryContent, facts: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield BG005 for a wrong number or rank of files.

    world_size is no number of ranks, or a file is of a rank that there was not.
    """
    world = facts.get("world_size")
    if type(world) is not int or world < 1:
        message = f"{METADATA}: world_size is {printable(repr(world), 40)}, not a number of ranks"
        yield Finding(
            "BG005", Severity.WARNING, message, METADATA, hint="it was changed by hand, or written by another tool"
        )
        return
    for ranks in content.ranks.values():
        for rank, path in ranks.paths.items():
            if rank >= world:
                message = (
                    f"{printable(path)}: {METADATA} says that there were {world} ranks; left over from another save?"
                )
                yield Finding("BG005", Severity.WARNING, message, path, hint="remove it once you know what it is")


def _other_step(files: Files, facts: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield BG006 for a directory named for another step."""
    named, kept = step_of(files.location.name), facts.get("train_steps")
    if named is not None and type(kept) is int and named != kept:
        message = f"{METADATA}: saved at step {kept}, in a directory that is named for step {named}"
        yield Finding(
            "BG006", Severity.WARNING, message, METADATA, hint="name it for its step: trainers go by the name"
        )


def _missing_shards(content: DirectoryContent) -> Iterator[Finding]:
    """Yield BG004 for missing parts of a flat optimizer."""
    missing = missing_of(content.flat_count, content.flat)
    for number in missing.ranks:
        path = f"optimizer.{number:05d}-of-{content.flat_count:05d}.pt"
        rest = f", and so are {missing.more} more" if missing.more and number == missing.ranks[-1] else ""
        yield Finding("BG004", Severity.ERROR, f"{path}: this part of the optimizer is missing{rest}", path, hint=_HINT)


def _short_data_status(
    checkpoint: StoredCheckpoint, content: DirectoryContent, facts: Mapping[str, Any]
) -> Iterator[Finding]:
    """Yield BG008 if data_status.pt lacks ranks.

    It has one entry a rank: BAGEL starts the data of the other ranks from the front.
    """
    states = [component.state for component in checkpoint.manifest.components if component.kind == "sampler"]
    world = facts.get("world_size") or content.flat_count
    optimizer = content.ranks.get("optimizer")
    if not world and optimizer is not None:
        world = optimizer.world
    for state in states:
        if isinstance(state, list | tuple) and type(world) is int and 0 < world != len(state):
            message = f"{DATA}: the positions of {len(state)} ranks, and there were {world}"
            hint = "ranks without an entry begin their data again; BAGEL does not say so"
            yield Finding("BG008", Severity.WARNING, message, DATA, hint=hint)


def _second_weights(files: Files, checkpoint: StoredCheckpoint, content: DirectoryContent) -> Iterator[Finding]:
    """Yield BG007 for a second copy of the weights.

    It lies beside those that were read.
    """
    model = next((component for component in checkpoint.manifest.components if component.label == "model"), None)
    if SINGLE in content.others and "model" in content.full:
        message = f"{SINGLE}: not read, model.safetensors is; they may be of two saves"
        yield Finding("BG007", Severity.WARNING, message, SINGLE, hint="compare them with ckpt diff")
    if COPY in content.others and model is not None and ("model" in content.sharded or "model" in content.ranks):
        yield from _stale_copy(files, model)


def _stale_copy(files: Files, model: Component) -> Iterator[Finding]:
    try:
        copied = {name: info.shape for name, info in read_safetensors(files, COPY).tensors.infos()}
    except CkptError as error:
        yield Finding.of_error(error)
        return
    sharded = {name: info.shape for name, info in model.tensors.infos()}
    differing = sorted(name for name in {*copied, *sharded} if copied.get(name) != sharded.get(name))
    if differing:
        message = f"{COPY}: {len(differing)} tensors are not those of the shards, {printable(differing[0])} first"
        yield Finding(
            "BG007", Severity.WARNING, message, COPY, differing[0], "the shards are read; compare with ckpt diff"
        )
