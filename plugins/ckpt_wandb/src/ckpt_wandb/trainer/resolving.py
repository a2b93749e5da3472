"""The meaning of a trainer's flags.

A checkpoint that is here, whole and of this model; or a new training.

A training that was to be resumed is resumed or ends with an error. It never starts anew because something failed.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ckpt_core import UsageError, locate, printable, torchrun_ranks
from ckpt_wandb.artifacts import open_artifact
from ckpt_wandb.downloading import download
from ckpt_wandb.refs import SCHEME, parse
from ckpt_wandb.trainer.architecture import check_architecture
from ckpt_wandb.trainer.resumption import Resumption, recorded

OUTPUT = "results_full"
"""Where the trainer of the guide keeps its checkpoints."""


def resolve(
    args: argparse.Namespace,
    *,
    output_dir: str | os.PathLike[str] = OUTPUT,
    folder: str | os.PathLike[str] | None = None,
    without: Sequence[str] = (),
    architecture: Mapping[str, Any] | None = None,
) -> Resumption | None:
    """Return the checkpoint to go on from, downloaded and checked.

    None where it starts anew.

    Of several ranks that torchrun has started, all of which call it, the first asks W&B and settles the version, and
    the others get its answer, or its error. On every other machine one rank downloads that version there.

    Args:
        args: As parsed by a parser that `add_arguments` extended.
        output_dir: Where the deprecated `--resume_from_checkpoint` looks when it names no path.
        folder: Where artifacts are downloaded to; None for `WANDB_ARTIFACT_DIR`, else `artifacts`.
        without: Kinds of components that the training had none of, such as `scheduler`.
        architecture: What the model is built with and must be the checkpoint's too; None for `num_experts` of `args`,
            where it has that.

    Raises:
        CheckpointNotFoundError: There is no such artifact or folder, or no checkpoint in it.
        IncompleteError: None in it is complete.
        LoadError: It was trained with another architecture.
        CorruptError, NoAnswerError: As `download`.
        UsageError: An argument names no artifact.
    """
    with torchrun_ranks() as ranks:
        own = _resolved(args, output_dir, folder, without, architecture) if ranks.leads else None
        said = ranks.from_leader(None if own is None else asdict(own))
        resumption = None if said is None else Resumption(**said)
        if resumption is not None and not ranks.leads:
            _bring_here(resumption)
        ranks.exchange(None)
    return resumption


def _bring_here(resumption: Resumption) -> None:
    """Download what the first rank has settled.

    Where this is another machine and the rank that does that there.
    """
    if resumption.digest and os.environ.get("LOCAL_RANK", "0") == "0" and not os.path.isdir(resumption.path):
        download(resumption.ref, resumption.path)


def _resolved(
    args: argparse.Namespace, output_dir: Any, folder: Any, without: Sequence[str], architecture: Any
) -> Resumption | None:
    if getattr(args, "wandb_checkpoint_artifact", None):
        found = _from_artifact(args, folder, without)
    elif getattr(args, "resume_from_checkpoint", None):
        found = _from_folder(args, output_dir, without)
    else:
        return None
    given = {"num_experts": getattr(args, "num_experts", None)} if architecture is None else architecture
    check_architecture(found.path, {name: value for name, value in given.items() if value is not None})
    _tell(found)
    return found


def _from_artifact(args: argparse.Namespace, folder: Any, without: Sequence[str]) -> Resumption:
    if getattr(args, "resume_from_checkpoint", None):
        _warn("--resume_from_checkpoint is passed over: --wandb_checkpoint_artifact goes before it")
    asked = args.wandb_checkpoint_artifact
    place, mark, member = asked.removeprefix(SCHEME).partition("#")
    artifact = open_artifact(parse(place))
    inner = parse(place).path
    pinned = f"{artifact.ref}{'/' if inner else ''}{inner}{mark}{member}"
    located = locate(pinned, profile="resume", without=without)
    chosen = located.require()
    passed = [a for a in located.attempts if a.outcome.value == "rejected"]
    inside = "/".join(p for p in (chosen.url.removeprefix(str(artifact.ref)).strip("/"), chosen.member) if p)
    base = Path(folder or os.environ.get("WANDB_ARTIFACT_DIR") or "artifacts")
    here = base / f"{artifact.ref.name}-{artifact.ref.alias}" / inside
    done = download(f"{artifact.ref}{'/' if inside else ''}{inside}", here)
    for one in passed:
        _warn(f"passed over {one.candidate}: {one.detail}")
    return recorded(
        done.folder,
        ref=f"{artifact.ref}{'#' if inside else ''}{inside}",
        digest=artifact.digest,
        run_id=artifact.run_id,
        lr_from=getattr(args, "lr_from", None),
    )


def _from_folder(args: argparse.Namespace, output_dir: Any, without: Sequence[str]) -> Resumption:
    _warn("--resume_from_checkpoint is deprecated: no other machine has it; use --wandb_checkpoint_artifact")
    given = args.resume_from_checkpoint
    place = os.fspath(output_dir) if given is True else str(given)
    if "://" in place:
        raise UsageError(f"{printable(place)}: a folder of this machine is needed; use --wandb_checkpoint_artifact")
    chosen = locate(os.path.join(place, ""), profile="resume", without=without).require()
    path = os.path.join(chosen.url, chosen.member) if chosen.member else chosen.url
    return recorded(path, ref=path, digest="", run_id=None, lr_from=getattr(args, "lr_from", None))


def _tell(resumption: Resumption) -> None:
    import logging

    logging.getLogger(__name__).info(
        "resuming from %s at step %s, learning rate of the %s",
        resumption.ref,
        resumption.step,
        resumption.lr_from or "unset",
    )


def _warn(text: str) -> None:
    import logging

    logging.getLogger(__name__).warning("%s", text)
