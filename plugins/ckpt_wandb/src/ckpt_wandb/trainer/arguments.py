"""A trainer's flags: what to go on from, what to train on."""

import argparse
import math

LR_FROM = ("argument", "checkpoint")
"""Whose learning rate a resumed training has: the command line's, or that of the optimizer that is restored."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a training that can be resumed from W&B.

    `--wandb_checkpoint_artifact`, `--resume_from_checkpoint` (deprecated), `--lr_from`, `--datasets`,
    `--training_subset`, `--eval_subset`, `--early_stopping_patience`.
    """
    group = parser.add_argument_group("checkpoints and data")
    group.add_argument(
        "--wandb_checkpoint_artifact",
        type=_artifact,
        default=None,
        metavar="ENTITY/PROJECT/NAME:VERSION",
        help="resume from this W&B artifact; None, or nothing, starts anew",
    )
    group.add_argument(
        "--resume_from_checkpoint",
        nargs="?",
        const=True,
        default=None,
        metavar="PATH",
        help="deprecated: resume from a folder of this machine, by default the trainer's output folder; "
        "--wandb_checkpoint_artifact goes before it",
    )
    group.add_argument(
        "--lr_from",
        choices=LR_FROM,
        default="argument",
        help="whose learning rate a resumed training has (default: the command line's)",
    )
    group.add_argument("--datasets", type=_names, default=(), metavar="A,B", help="datasets to train on, by name")
    for name, what in (("training_subset", "train on"), ("eval_subset", "evaluate on")):
        said = f"{what} so much of the data"
        group.add_argument(f"--{name}", type=_percent, default=100.0, metavar="PERCENT", help=said)
    group.add_argument(
        "--early_stopping_patience",
        type=_count,
        default=3,
        metavar="N",
        help="evaluations without a better one until the training stops (default: 3)",
    )


def subset_indices(count: int, percent: float) -> range:
    """Return the indices of the first `percent` of so many examples.

    It is at least one, where there is any.
    """
    return range(min(count, math.ceil(count * percent / 100)))


def _artifact(text: str) -> str | None:
    """Return the ref.

    None for the word None too, which a submit script's f-string makes of the value.
    """
    return None if text in ("", "None") else text


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in map(str.strip, text.split(",")) if name)


def _percent(text: str) -> float:
    value = float(text)
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(f"{text}: a percentage above 0, up to 100, is needed")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: a number of evaluations from 1 on is needed")
    return value
