"""Opens a training directory of BAGEL.

It reads what the trainers keep of each component, whichever of four ways they chose.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from ckpt_core import (
    Asset,
    Component,
    CorruptError,
    Files,
    Finding,
    FormatMatch,
    LoadRequest,
    Presence,
    Profile,
    Severity,
    StoredCheckpoint,
)
from ckpt_core.codecs import read_safetensors
from ckpt_core.layouts import NO_TENSORS, CheckpointBuilder, read_json
from ckpt_fsdp.bagel.detection import sharded_metadata
from ckpt_fsdp.bagel_names import COPY, DATA, METADATA, SCHEDULER, SINGLE, DirectoryContent, step_of, survey
from ckpt_fsdp.rank_sets import RankSet
from ckpt_fsdp.ranks.missing import missing_of
from ckpt_fsdp.ranks.opening import SEALS, add_apart, add_parts, add_set, are_flat
from ckpt_fsdp.ranks.reading import read_parts

_NO_EMA = "BAGEL would go on with the weights of the model in its place, and not say so; here they are never put there"


def read(files: Files, match: FormatMatch, request: LoadRequest) -> StoredCheckpoint:
    """Read the files beside the directories of DCP.

    Core opens those as parts of the match.

    Raises:
        CorruptError: BG009, nothing here has the names of BAGEL's files.
        UnsafeContentError: PK003, a file would run code.
    """
    content = survey(files.entries).get("", DirectoryContent())
    if not content.files and not content.sharded:
        raise CorruptError(
            f"{files.location}: none of BAGEL's files are here; name the directory of a step", code="BG009"
        )
    builder = CheckpointBuilder(files)
    facts = _add_progress(builder, content)
    world = facts.get("world_size")
    for kind in ("model", "ema"):
        _add_weights(builder, content, kind, world if type(world) is int else None)
    _note_missing_ema(builder, content, facts)
    _add_optimizer(builder, content, world if type(world) is int else None)
    builder.torch_component("scheduler", SCHEDULER, optional=facts.get("has_scheduler") is False)
    builder.torch_component("sampler", DATA, optional=facts.get("has_data_status") is False)
    _say_not_used(builder, facts)
    assets = [Asset(path, entry.size) for path, entry in files.entries.items() if _is_asset(path, content, builder)]
    step = facts.get("train_steps")
    return builder.checkpoint(match, step=step if type(step) is int else None, assets=assets)


def _add_progress(builder: CheckpointBuilder, content: DirectoryContent) -> Mapping[str, Any]:
    """Add metadata.json, or the step in the directory's name."""
    files = builder.files
    if METADATA in content.others:
        facts = builder.tried("progress", METADATA, partial(read_json, files, METADATA))
        if facts is None:
            return {}
        if facts and (content.sharded or sharded_metadata(files, "", content) is not None):
            builder.add(Component("progress", NO_TENSORS, dict(facts)), METADATA)
            return facts
    step = step_of(files.location.name)
    if step is None:
        builder.role("progress", Presence.ABSENT, METADATA, "the directory is not named for its step")
    else:
        builder.role("progress", Presence.DERIVED, "", "the step that the directory is named for")
        builder.components.append(Component("progress", NO_TENSORS, {"train_steps": step}))
    return {}


def _add_weights(builder: CheckpointBuilder, content: DirectoryContent, kind: str, world: int | None) -> None:
    """Add the weights that are kept in files.

    Those in a directory of DCP are a part.
    """
    if kind in content.sharded:
        return
    if kind in content.ranks:
        ranks = content.ranks[kind]
        add_set(builder, RankSet(kind, world=ranks.world or world, paths=dict(sorted(ranks.paths.items()))), kind)
    elif kind in content.full:
        _add_safetensors(builder, kind, content.full[kind])
    elif kind == "model" and SINGLE in content.others:
        builder.torch_component(kind, SINGLE)
    elif kind == "model" and COPY in content.others:
        _add_safetensors(builder, kind, COPY)
        builder.findings.append(_only_copy())
    else:
        where = f"{kind}.safetensors" if not content.others & {METADATA} else f"{kind}_sharded"
        # BAGEL stops without the model, and takes the model for a missing average; to compute with, either is enough.
        others = content.full or content.sharded or {"model", "ema"} & set(content.ranks)
        needed_for = Profile.RESUME if others or kind == "ema" else None
        builder.role(kind, Presence.ABSENT, where, needed_for=needed_for)


def _add_safetensors(builder: CheckpointBuilder, kind: str, path: str) -> None:
    file = builder.tried(kind, path, partial(read_safetensors, builder.files, path))
    if file is not None:
        builder.add(Component(kind, file.tensors), path)


def _add_optimizer(builder: CheckpointBuilder, content: DirectoryContent, world: int | None) -> None:
    if content.flat:
        for number, path in sorted(content.flat.items()):
            builder.torch_component("optimizer", path, name=f"{number:05d}-of-{content.flat_count:05d}")
        for number in missing_of(content.flat_count, content.flat).ranks:
            name = f"{number:05d}-of-{content.flat_count:05d}"
            builder.role("optimizer", Presence.ABSENT, f"optimizer.{name}.pt", name=name)
        builder.findings.append(_not_joined(next(iter(content.flat.values())), len(content.flat)))
        return
    ranks = content.ranks.get("optimizer")
    if ranks is None:
        builder.role("optimizer", Presence.ABSENT, "optimizer_rank00000.pt")
        return
    kept = RankSet("optimizer", world=ranks.world or world, paths=dict(sorted(ranks.paths.items())))
    parts = read_parts(builder, kept, "optimizer")
    if (kept.world or len(kept.paths)) > 1 and are_flat(parts):
        add_apart(builder, kept, parts, "{:05d}")
        builder.findings.append(_not_joined(parts[0].file.path, len(parts)))
    else:
        add_parts(builder, kept, parts, "optimizer")


def _note_missing_ema(builder: CheckpointBuilder, content: DirectoryContent, facts: Mapping[str, Any]) -> None:
    there = "ema" in content.sharded or "ema" in content.ranks or "ema" in content.full
    if not there and facts.get("has_ema") is None:
        message = f"no weights of the EMA are here; {_NO_EMA}"
        hint = "copy ema.safetensors or its shards too, if the run kept an EMA"
        builder.findings.append(Finding("BG002", Severity.WARNING, message, hint=hint))


def _say_not_used(builder: CheckpointBuilder, facts: Mapping[str, Any]) -> None:
    """Note the components that the run did not have.

    metadata.json says so.
    """
    named = {"has_ema": "ema", "has_scheduler": "scheduler", "has_data_status": "sampler"}
    present = {component.kind for component in builder.components}
    for key, kind in named.items():
        if facts.get(key) is False and kind not in present:
            builder.roles = [role for role in builder.roles if role.kind != kind]
            builder.role(kind, Presence.NOT_NEEDED, METADATA, f"{key} is false")


def _not_joined(path: str, count: int) -> Finding:
    message = (
        f"the optimizer's state is over flat parameters of FSDP1, in {count} parts: each is kept as it is, and none is "
        "put together or cut for another number of ranks: where each weight starts in them, no file says"
    )
    hint = "to train on, use as many ranks; to change their number, save it with FSDP.optim_state_dict"
    return Finding("BG003", Severity.INFO, message, path, hint=hint)


def _only_copy() -> Finding:
    message = f"{COPY} is read as the model: the shards that it is a copy of are not here"
    return Finding("BG007", Severity.WARNING, message, COPY, hint="copy model_sharded/ too, to train on")


def _is_asset(path: str, content: DirectoryContent, builder: CheckpointBuilder) -> bool:
    """Return True if a file is carried along.

    It lies at the top and was not read.
    """
    read = {role.where for role in builder.roles}
    return "/" not in path and path not in SEALS and (path not in content.files or (path == COPY and path not in read))
