"""`--sample`, `--time-budget` and `--seed`: how much of the bytes is read."""

import re
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ckpt_core.schema.verification import Sampling

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"


def sampling_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Declare the three options of sampling.

    The command gets them as `sampling`, None where none was given.
    """

    @wraps(function)
    def command(*args: Any, sample: float | None, time_budget: float | None, seed: int | None, **more: Any) -> Any:
        if seed is not None and sample is None and time_budget is None:
            raise click.UsageError("--seed goes with --sample or --time-budget.")
        return function(*args, sampling=_sampling(sample, time_budget, seed or 0), **more)

    for option in reversed(_options()):
        command = option(command)
    return command


def _options() -> list[Callable[..., Any]]:
    return [
        click.option(
            "--sample",
            metavar="SHARE",
            callback=_parse_share,
            help="With --depth bytes or values: read 10% or 0.1 of each file only; the report says how much.",
        ),
        click.option(
            "--time-budget",
            metavar="TIME",
            callback=_parse_time,
            help="With --depth bytes or values: stop reading after 60s, 2m or 1h, having read of every file alike.",
        ),
        click.option("--seed", type=int, metavar="NUMBER", help="Which part is read; 0 unless given."),
    ]


def _sampling(share: float | None, seconds: float | None, seed: int) -> "Sampling | None":
    from ckpt_core.schema.verification import Sampling

    if share is None and seconds is None:
        return None
    return Sampling(1.0 if share is None else share, seed, seconds)


def _parse_share(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    match = re.fullmatch(rf"{_NUMBER}(%?)", value.strip())
    share = float(match[1]) / (100 if match[2] else 1) if match else 0.0
    if not 0 < share <= 1:
        raise click.BadParameter(f"{value!r} is no share of the bytes, such as 10% or 0.1.")
    return share


def _parse_time(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    match = re.fullmatch(rf"{_NUMBER}\s*([smh]?)", value.strip())
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if not seconds:
        raise click.BadParameter(f"{value!r} is no time, such as 60s, 2m or 90.")
    return seconds
