"""Starts a trainer's model from its arguments.

It loads the weights that they name, or goes on with the whole training.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ckpt_core
from ckpt_core import CheckpointNotFoundError, Resolution, StoredCheckpoint
from ckpt_minillm.filling import fill_model
from ckpt_minillm.naming import WeightsName, stage_of
from ckpt_minillm.trainer.log import Logger, Voice
from ckpt_minillm.trainer.ranks import world_size_of
from ckpt_minillm.trainer.reports import InitReport
from ckpt_minillm.trainer.restoring import left_of, restore

if TYPE_CHECKING:
    import torch


def init_from_args(
    model: "torch.nn.Module",
    args: argparse.Namespace,
    *,
    optimizer: "torch.optim.Optimizer | None" = None,
    scheduler: Any = None,
    scaler: Any = None,
    extra: Mapping[str, Any] | None = None,
    stage: str | None = None,
    component: str | None = None,
    allow_missing: Sequence[str] = (),
    allow_unexpected: Sequence[str] = (),
    world_size: int | None = None,
    logger: Logger = None,
) -> InitReport:
    """Fill a model as the arguments of `add_checkpoint_arguments` say.

    With `--from_resume` the resume file of the stage that is written, in `--out_dir`; else `--pretrained_path`, then
    `MINILLM_PRETRAINED_PATH`, then the remote file, then the local one.

    Args:
        model: What is filled.
        args: The parsed arguments.
        optimizer: Restored from a resume file.
        scheduler: Restored from a resume file.
        scaler: Restored from a resume file.
        extra: More that is restored, by minimind's keys: `critic_model`, `critic_optimizer`, `critic_scheduler`.
        stage: The stage to load, in place of `--from_weight`: that of a teacher, or of a reference. It is never
            resumed.
        component: Label of the component; None for the model.
        allow_missing: Globs of the model's names that may keep their values; those of a LoRA always may.
        allow_unexpected: Globs of stored names that may be left.
        world_size: Ranks that train now; None for torch's own number. The step of another number is converted.
        logger: Told what is done.

    Raises:
        CheckpointNotFoundError: What was named is not there; or nothing was found, and random weights not asked for.
        LoadError: It does not fit; nothing was changed.
        CkptError: It cannot be reached or read.
    """
    voice = Voice(logger)
    if stage is None and args.from_resume != "0":
        parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "scaler": scaler, **(extra or {})}
        resumed = _resumed(args, parts, allow_missing, world_size_of(world_size), voice)
        if resumed is not None:
            return resumed
    wanted = stage or args.from_weight
    if wanted == "none":
        voice.warn("--from_weight none: the model starts from random weights")
        return InitReport(None, None, random=True)
    resolution = ckpt_core.locate(hints=_hints(args, wanted))
    if resolution.location is None:
        return _random(args, resolution, voice)
    checkpoint = ckpt_core.load(_path_of(resolution), hints=_shape(args))
    report = fill_model(
        model, checkpoint, component=component, allow_missing=allow_missing, allow_unexpected=allow_unexpected
    )
    voice.say(report.summary())
    return InitReport(str(checkpoint.location), report, restored=("model",), trace=resolution.explain())


def resume_name(args: argparse.Namespace, stage: str | None = None) -> str:
    """Return the path of a stage's resume file.

    It is of the stage that is written where none is given.
    """
    name = WeightsName(stage_of(stage or args.save_weight), args.hidden_size, args.use_moe, resume=True)
    return os.path.join(args.out_dir, str(name))


def _hints(args: argparse.Namespace, stage: str) -> dict[str, object]:
    asked = {
        "stage": stage,
        "path": args.pretrained_path,
        "hidden_size": args.hidden_size,
        "use_moe": args.use_moe,
        "local_dir": args.out_dir,
        "remote_dir": args.remote_dir,
        "remote_only": args.load_from_remote or None,
        "prefer": args.prefer,
        "fallback_stages": args.fallback_stages,
    }
    return {hint: value for hint, value in asked.items() if value is not None}


def _shape(args: argparse.Namespace) -> dict[str, object]:
    """Return the sizes that the file's tensors must have."""
    return {
        "hidden_size": args.hidden_size,
        "num_hidden_layers": args.num_hidden_layers,
        "use_moe": args.use_moe,
    }


def _path_of(resolution: Resolution) -> str:
    assert resolution.location is not None
    url = resolution.location.url
    return url if "://" in url or os.sep in url else os.path.join(".", url)


def _random(args: argparse.Namespace, resolution: Resolution, voice: Voice) -> InitReport:
    """Report random weights, where they are allowed.

    Nothing may have been named, and every place must have answered.
    """
    error = resolution.error()
    named = args.pretrained_path is not None or args.load_from_remote
    ended = any(a.outcome.value != "missing" or a.candidate.required for a in resolution.attempts)
    if named or ended:
        raise error
    if not args.allow_random_init:
        raise CheckpointNotFoundError(
            f"{error.message}; give --pretrained_path FILE, or --allow_random_init to start from random weights"
        )
    voice.warn(f"{error.message}; the model starts from random weights, as --allow_random_init says")
    return InitReport(None, None, random=True, trace=resolution.explain())


def _resumed(
    args: argparse.Namespace, parts: Mapping[str, Any], allow_missing: Sequence[str], world_size: int, voice: Voice
) -> InitReport | None:
    """Go on with a training.

    None where it may begin anew, and there is no resume file.
    """
    path = resume_name(args)
    resolution = ckpt_core.locate(path)
    if not resolution.found:
        error = resolution.error()
        if args.from_resume != "auto" or not isinstance(error, CheckpointNotFoundError):
            raise error
        voice.say(f"{path}: no resume file; the training begins anew")
        return None
    options = {"world_size": world_size}
    checkpoint = ckpt_core.load(path, format="minillm-resume", options=options, hints=_shape(args))
    given = {key: part for key, part in parts.items() if part is not None}
    report = restore(checkpoint, given, allow_missing=allow_missing)
    for finding in checkpoint.manifest.findings:
        if finding.code == "MM006":
            voice.warn(finding.message)
    progress = _progress(checkpoint)
    made = InitReport(
        str(checkpoint.location),
        report,
        resumed=True,
        epoch=progress["epoch"],
        step=progress["step"],
        wandb_id=progress.get("wandb_id"),
        restored=tuple(given),
        left=left_of(checkpoint, given),
        trace=resolution.explain(),
    )
    voice.say(made.summary())
    return made


def _progress(checkpoint: StoredCheckpoint) -> dict[str, Any]:
    labels = [component.label for component in checkpoint.manifest.components]
    state = checkpoint.component("progress").state if "progress" in labels else None
    if not isinstance(state, dict) or not all(type(state.get(key)) is int for key in ("epoch", "step")):
        raise ckpt_core.LoadError(f"{checkpoint.location}: has no epoch and step to go on from; see MM005")
    return state
