"""The loading half of BAGEL's sharded checkpoint manager.

What is asked for is loaded whole, or there is an error.

Source: `train/fsdp_checkpoint_manager.py` of the forks of BAGEL (ShardedCheckpointManager).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpt_core import (
    CkptError,
    IncompleteError,
    LoadInterruptedError,
    StoredCheckpoint,
    UsageError,
    argument,
    get_plugin_manager,
    list_files,
    load,
    load_into,
    marked,
    torchrun_ranks,
)
from ckpt_core import training as ckpt_training
from ckpt_fsdp.bagel.detection import sharded_metadata
from ckpt_fsdp.bagel_names import METADATA, DirectoryContent, survey

if TYPE_CHECKING:
    import torch

    from ckpt_core import LoadReport

TABLES = ("*latent_pos_embed.pos_embed", "*vit_pos_embed.pos_embed")
"""Frozen tables that BAGEL's code makes by itself; they may be on either side."""

SHARDED, HUGGINGFACE, UNKNOWN = "sharded", "huggingface", "unknown"
_FORMATS = frozenset({"hf", "safetensors", "torch"})
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")


def detect(path: str) -> str:
    """Return `sharded`, `huggingface` or `unknown`.

    Raises:
        CheckpointNotFoundError: Nothing is there, which is not `unknown`.
        CkptError: It cannot be listed.
    """
    files = list_files(path)
    content = survey(files.entries).get("", DirectoryContent())
    if sharded_metadata(files, "", content) is not None or content.sharded or {"model", "ema"} & set(content.ranks):
        return SHARDED
    if METADATA in content.others and not content.has_weights:
        return UNKNOWN
    best = get_plugin_manager().hooks.detect_format(files=files).best
    weights = any(path.endswith(_SUFFIXES) for path in files.entries)
    if content.has_weights or (weights and best is not None and best.format in _FORMATS):
        return HUGGINGFACE
    return UNKNOWN


class Loaded(NamedTuple):
    """The filled objects, and the place to train on from.

    Attributes:
        train_steps: The step that comes next.
        data_status: What this rank's data had come to; None where nothing of it was saved.
    """

    model: Any
    ema_model: Any
    optimizer: Any
    scheduler: Any
    train_steps: int
    data_status: Any


def load_sharded(
    place: str,
    model: "torch.nn.Module | None",
    ema_model: "torch.nn.Module | None",
    optimizer: "torch.optim.Optimizer | None",
    scheduler: Any,
    logger: Any,
    load_model: bool | None,
    load_ema: bool | None,
) -> Loaded:
    """Fill what is given from the checkpoint of a step.

    See `ShardedCheckpointManager.load_sharded_checkpoint`.
    """
    wanted = {
        "model": _target("model", model, load_model),
        "ema": _target("ema", ema_model, load_ema),
        "optimizer": optimizer,
        "scheduler": scheduler,
    }
    given = {label: target for label, target in wanted.items() if target is not None}
    if not given:
        raise UsageError(f"{argument('model')}: nothing was given that could be loaded into")
    flat = _flat_part(model)
    checkpoint = _open_on_all(place, lambda opened: _refuse_missing(opened, list(given), flat))
    modules = {label: target for label, target in given.items() if label in ("model", "ema")}
    for label, module in modules.items():
        fill_module(module, checkpoint, label, only_compare=True)
    filled: list[str] = []
    try:
        for label, target in given.items():
            _say(logger, _fill(label, target, checkpoint, model, flat))
            filled.append(label)
    except CkptError as error:
        if not filled:
            raise
        done = ", ".join(filled)
        raise LoadInterruptedError(
            f"{marked(error.message)}; {done} had been filled: do not train on with them"
        ) from error
    step = _step_of(checkpoint)
    return Loaded(model, ema_model, optimizer, scheduler, 0 if step is None else step + 1, _data(checkpoint, logger))


def _step_of(checkpoint: StoredCheckpoint) -> int | None:
    """Return the step that a checkpoint or its folder's name says."""
    said = (part.state for part in checkpoint.manifest.components if part.kind == "progress")
    named = [state["train_steps"] for state in said if isinstance(state, dict) and "train_steps" in state]
    step = checkpoint.manifest.step if checkpoint.manifest.step is not None else next(iter(named), None)
    return step if isinstance(step, int) else None


def _fill(
    label: str, target: Any, checkpoint: StoredCheckpoint, model: Any, flat: tuple[int, int] | None
) -> "LoadReport":
    if label in ("model", "ema"):
        return fill_module(target, checkpoint, label)
    own = None if label != "optimizer" or _has(checkpoint, label) else _own_part(checkpoint, flat)
    if own is not None:
        with torchrun_ranks() as ranks:
            return ranks.together(lambda: ckpt_training.load_into(target, checkpoint, component=own))
    trained = {"model": model} if label == "optimizer" else {}
    return ckpt_training.load_into(target, checkpoint, component=label, **trained)


def _flat_part(model: Any) -> tuple[int, int] | None:
    """Return which of how many flat shards this rank has.

    None where the model is not of FSDP1.
    """
    from torch.distributed.fsdp import FullyShardedDataParallel

    from ckpt_fsdp.live.manager_saving import shard_of

    return shard_of(model) if isinstance(model, FullyShardedDataParallel) else None


def _own_part(checkpoint: StoredCheckpoint, flat: tuple[int, int] | None) -> str | None:
    """Return the label of this rank's part of a flat optimizer.

    None where they were cut for another number of ranks.
    """
    parts = sorted(part.label for part in checkpoint.manifest.components if part.label.startswith("optimizer:"))
    if flat is None or not parts:
        return None
    shard, count = flat
    wanted = f"{shard:05d}-of-{count:05d}"
    if f"optimizer:{wanted}" in parts:
        return f"optimizer:{wanted}"
    every = parts == [f"optimizer:{number:05d}" for number in range(count)]
    return parts[shard] if every else None


def _open_on_all(place: str, check: Callable[[StoredCheckpoint], None]) -> StoredCheckpoint:
    """Open and check a checkpoint on every rank, or raise on all."""

    def opened() -> StoredCheckpoint:
        checkpoint = load(place)
        check(checkpoint)
        return checkpoint

    with torchrun_ranks() as ranks:
        return ranks.together(opened)


def load_weights(
    place: str,
    model: "torch.nn.Module",
    ema_model: "torch.nn.Module | None",
    logger: Any,
    load_ema_from_main: bool,
) -> tuple[Any, Any]:
    """Fill a model, and its average, from published weights.

    See `ShardedCheckpointManager.load_hf_checkpoint`.
    """

    def refuse_missing(checkpoint: StoredCheckpoint) -> None:
        if ema_model is not None and not load_ema_from_main and not _has(checkpoint, "ema"):
            raise IncompleteError(
                f"{checkpoint.location}: it has no weights of an EMA, and the model's never stand for them in silence; "
                f"give {argument('load_ema_from_main', True)} to begin the average with them, or no "
                f"{argument('ema_model')}"
            )

    checkpoint = _open_on_all(place, refuse_missing)
    source = "model" if load_ema_from_main else "ema"
    targets = [("model", model), *([] if ema_model is None else [(source, ema_model)])]
    for label, module in targets:
        fill_module(module, checkpoint, label, only_compare=True)
    for number, (label, module) in enumerate(targets):
        _say(logger, fill_module(module, checkpoint, label))
        if number and label == "model":
            logger.info("the average begins with the weights of the model, as load_ema_from_main asks")
    return model, ema_model


def fill_module(
    module: "torch.nn.Module", checkpoint: StoredCheckpoint, label: str, *, only_compare: bool = False
) -> "LoadReport":
    """Fill a module whole, or only compare it.

    Frozen tables that only one side has are passed over.

    Raises:
        LoadRefusedError: It does not fit; the module is unchanged.
    """
    how: dict[str, Any] = {"component": label, "allow_unexpected": TABLES}
    seen = load_into(module, checkpoint, dry_run=True, **how)
    lacking = [name for name in seen.missing if not any(name.endswith(table[1:]) for table in TABLES)]
    strange = [name for name in seen.unexpected if not any(name.endswith(table[1:]) for table in TABLES)]
    fits = seen.matched and not lacking and not strange and not seen.mismatched
    if fits and only_compare:
        return seen
    return load_into(module, checkpoint, min_coverage=seen.coverage if fits else 1.0, atomic=True, **how)


def _has(checkpoint: StoredCheckpoint, label: str) -> bool:
    return any(part.label == label for part in checkpoint.manifest.components)


def _target(label: str, module: Any, asked: bool | None) -> Any:
    if asked and module is None:
        raise UsageError(f"{argument(f'load_{label}', True)}: there is no {label} to load into; give one")
    return None if asked is False else module


def _refuse_missing(checkpoint: StoredCheckpoint, wanted: Sequence[str], flat: tuple[int, int] | None) -> None:
    """Raise IncompleteError for what is to be filled and was not saved."""
    labels = [part.label for part in checkpoint.manifest.components]
    for label in wanted:
        if _has(checkpoint, label) or (label == "optimizer" and _own_part(checkpoint, flat) is not None):
            continue
        why = next(
            (finding.message for finding in checkpoint.manifest.findings if finding.code == "BG003"), "it is not there"
        )
        reason = why if label == "optimizer" and any(one.startswith("optimizer:") for one in labels) else "it has none"
        keyword = f"load_{label}" if label in ("model", "ema") else label
        left_out = argument(keyword, False if label in ("model", "ema") else None)
        raise IncompleteError(
            f"{checkpoint.location}, {label}: {reason}; nothing stands for it; to go on without, give {left_out}"
        )


def _data(checkpoint: StoredCheckpoint, logger: Any) -> Any:
    """Return what was saved of this rank's data.

    None, and a warning, where it was of fewer ranks.
    """
    states = [part for part in checkpoint.manifest.components if part.kind == "sampler"]
    if not states:
        return None
    every = ckpt_training.torch_state(checkpoint, states[0])
    rank = _rank()
    if isinstance(every, list | tuple) and rank < len(every):
        return every[rank]
    if isinstance(every, Mapping):
        return every
    logger.warning(f"{checkpoint.location}: nothing was saved of the data of rank {rank}: it begins anew")
    return None


def _rank() -> int:
    import torch.distributed as dist

    return int(dist.get_rank()) if dist.is_initialized() else 0


def _say(logger: Any, report: "LoadReport") -> None:
    logger.info(f"{report.component}: {report.summary()}")
