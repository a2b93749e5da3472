"""The training step that the name of a file or a directory claims; what is in it counts before that.

A number that says nothing of what it counts (a width, a date, the number of a shard) is no step.
"""

import re

_NUMBER = r"(\d{1,18})(?:([kKmM])(?![A-Za-z]))?(?![bB](?![A-Za-z]))(?![\d.]*\d)(?!-\d\d-\d\d)"
"""A number with k or M for thousands and millions; one with b counts parameters, and decimals are no steps."""


def _beside(word: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """A number behind a word (`step_400`), and one before it (`400_steps`)."""
    before = re.compile(rf"(?<![A-Za-z])(?:{word})[-_=]?{_NUMBER}", re.IGNORECASE)
    return before, re.compile(rf"(?<![\d.])(\d{{1,18}})([kKmM])?[-_]?(?:{word})(?![A-Za-z])", re.IGNORECASE)


_STEPS = _beside(r"(?:(?:global|train|time|opt)[-_]?)?steps?|iterations?|iters?|it|(?:num_)?updates?")
_EPOCHS = _beside(r"epochs?|ep")
_SAVES = re.compile(rf"(?<![A-Za-z])(?:checkpoint|ckpt|snapshot)[-_=]?{_NUMBER}(?:[-_](\d{{1,18}})(?![\d.]*\d))?", re.I)
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
    """The step in the last part of a path: `checkpoint-400`, `epoch=1-step=8.ckpt`, `0000400`, `iter-80-ckpt.pth`."""
    stem = _stem(name)
    for form in _STEPS:
        found = form.findall(stem)
        if found:
            return int(found[-1][0]) * _TIMES[found[-1][1].lower()]
    saved = _SAVES.findall(stem)
    if saved and not _DATE.fullmatch(saved[-1][0]):
        return _of_save(*saved[-1])
    return _bare(stem)


def step_of_path(path: str) -> int | None:
    """The step of a checkpoint below a root: in its name, else in that of the nearest folder above; epochs count last.

    Args:
        path: Relative to the root, so that what the root itself is called says nothing.
    """
    found = numbered_part(path)
    return None if found is None else found[1]


def numbered_part(path: str) -> tuple[int, int] | None:
    """Which part of a path has the step, counted from its start, and the step; None where none has."""
    parts = path.split("/")
    for index in range(len(parts) - 1, max(-1, len(parts) - 1 - _LEVELS), -1):
        step = step_of_name(parts[index])
        step = epoch_of_name(parts[index]) if step is None else step
        if step is not None:
            return index, step
    found = _MODEL.fullmatch(_stem(parts[-1]))
    return (len(parts) - 1, int(found[1])) if found else None


def epoch_of_name(name: str) -> int | None:
    """The number of passes over the data in the last part of a path: `epoch_5.pt`, `ep12`, `10epoch.pth`."""
    stem = _stem(name)
    for form in _EPOCHS:
        found = form.findall(stem)
        if found:
            return int(found[-1][0])
    return None


def _stem(name: str) -> str:
    return _SUFFIX.sub("", name.rpartition("/")[2])


def _of_save(number: str, unit: str, further: str) -> int:
    """Of `checkpoint_3_12000`, as fairseq names them, the updates, which are never fewer than the epochs."""
    first = int(number) * _TIMES[unit.lower()]
    return max(first, int(further)) if further else first


def _bare(stem: str) -> int | None:
    """A number that stands alone, or is as long at the end as only counters are; not a date, nor the time behind it."""
    if _DATE.search(stem):
        return None
    if _ALONE.fullmatch(stem):
        return int(stem)
    found = _LONG.fullmatch(stem) if "-of-" not in stem else None
    return int(found[1]) if found else None
