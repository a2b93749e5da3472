"""Reads the training step from a file's or directory's name.

A step recorded in the content counts before it. A number that says nothing of what it counts (a width, a date, the
number of a shard) is no step.
"""

import re
from functools import cache

_NUMBER = r"(\d{1,18})(?:([kKmM])(?![A-Za-z]))?(?![bB](?![A-Za-z]))(?![\d.]*\d)(?!-\d\d-\d\d)"
"""A number with k or M for thousands and millions; one with b counts parameters, and decimals are no steps."""


@cache
def _beside(word: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return patterns for a number behind and before a word.

    `step_400` is one behind, `400_steps` one before. They take a millisecond to compile, and most names have no number.
    """
    before = re.compile(rf"(?<![A-Za-z])(?:{word})[-_=]?{_NUMBER}", re.IGNORECASE)
    return before, re.compile(rf"(?<![\d.])(\d{{1,18}})([kKmM])?[-_]?(?:{word})(?![A-Za-z])", re.IGNORECASE)


_STEPS = r"(?:(?:global|train|time|opt)[-_]?)?steps?|iterations?|iters?|it|(?:num_)?updates?"
_EPOCHS = r"epochs?|ep"
_SAVES = rf"(?<![A-Za-z])(?:checkpoint|ckpt|snapshot)[-_=]?{_NUMBER}(?:[-_](\d{{1,18}})(?![\d.]*\d))?"
_DIGIT = re.compile(r"\d")
_LONG = re.compile(r"(?:.*[^\d.])?(0\d{3,17}|\d{6,18})")
_ALONE = re.compile(r"\d{1,18}")
_MODEL = re.compile(r"(?:.*[-_.])?model[-_]?(\d{1,18})", re.IGNORECASE)
_DATE = re.compile(r"(?<!\d)(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:\d{6})?(?!\d)")
_SUFFIX = re.compile(
    r"(?:\.(?:pt|pth|ckpt|bin|safetensors|tar|pkl|zip|pickle|t7|distcp|npz|h5|keras))+$", re.IGNORECASE
)
_TIMES = {"": 1, "k": 1_000, "m": 1_000_000}

_LEVELS = 4
"""How many folders up a step is looked for: `checkpoints/0900000/pretrained_model/model.safetensors`."""


def step_of_name(name: str) -> int | None:
    """Return the step in the last part of a path.

    Examples are `checkpoint-400`, `epoch=1-step=8.ckpt`, `0000400` and `iter-80-ckpt.pth`.
    """
    stem = _stem(name)
    if not _DIGIT.search(stem):
        return None
    for form in _beside(_STEPS):
        numbers = form.findall(stem)
        if numbers:
            return int(numbers[-1][0]) * _TIMES[numbers[-1][1].lower()]
    saved = re.findall(_SAVES, stem, re.IGNORECASE)
    if saved and not _DATE.fullmatch(saved[-1][0]):
        return _of_save(*saved[-1])
    return _bare(stem)


def step_of_path(path: str) -> int | None:
    """Return the step of a checkpoint below a root.

    It is taken from the name, else from the nearest folder above; epochs count last.

    Args:
        path: Relative to the root, so that what the root itself is called says nothing.
    """
    numbered = numbered_part(path)
    return None if numbered is None else numbered[1]


def numbered_part(path: str) -> tuple[int, int] | None:
    """Return the part of a path with the step, and it.

    The part is given by its index from the start; None where no part has a step.
    """
    parts = path.split("/")
    for index in range(len(parts) - 1, max(-1, len(parts) - 1 - _LEVELS), -1):
        step = step_of_name(parts[index])
        step = epoch_of_name(parts[index]) if step is None else step
        if step is not None:
            return index, step
    model = _MODEL.fullmatch(_stem(parts[-1]))
    return (len(parts) - 1, int(model[1])) if model else None


def epoch_of_name(name: str) -> int | None:
    """Return the epoch in the last part of a path.

    Examples are `epoch_5.pt`, `ep12` and `10epoch.pth`.
    """
    stem = _stem(name)
    if not _DIGIT.search(stem):
        return None
    for form in _beside(_EPOCHS):
        numbers = form.findall(stem)
        if numbers:
            return int(numbers[-1][0])
    return None


def _stem(name: str) -> str:
    return _SUFFIX.sub("", name.rpartition("/")[2])


def _of_save(number: str, unit: str, further: str) -> int:
    """Return the updates in a name such as `checkpoint_3_12000`.

    fairseq names so, epochs first; the updates are never fewer than the epochs.
    """
    first = int(number) * _TIMES[unit.lower()]
    return max(first, int(further)) if further else first


def _bare(stem: str) -> int | None:
    """Return a number that stands alone or ends a name.

    At the end it must be as long as only counters are; a date is no step, nor is the time behind it.
    """
    if _DATE.search(stem):
        return None
    if _ALONE.fullmatch(stem):
        return int(stem)
    counter = _LONG.fullmatch(stem) if "-of-" not in stem else None
    return int(counter[1]) if counter else None
