"""Which files of a folder are the ranks of one save, told from the rank that each says it is of, then from names.

The number in a name that is the file's rank, in all files of that name alike, is left out of it; the numbers that are
left are those of a step, and files that differ in one of them are of different saves.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from ckpt_fsdp.rank_sets import RankSet

WHOLE = "whole"
"""The part that a rank's file has where it holds all that the rank saved, or nothing says what it holds."""

_MOST_RANKS = 1 << 16
"""Names that are looked for; what a head claims costs no more."""

_NUMBER = re.compile(r"\d+")
_WORD = re.compile(r"[a-z]+")
_COUNTER = re.compile(r"(?:step|epoch|iter|iteration|checkpoint|ckpt|it|ep)s?[-_=.]?$", re.IGNORECASE)
"""What stands before the number of a step."""

_PARTS = {
    "model": "model",
    "weights": "model",
    "optim": "optimizer",
    "optimizer": "optimizer",
    "opt": "optimizer",
    "ema": "ema",
    "extra": "extra",
    "rng": "extra",
}


class RankedFile(NamedTuple):
    """A file with parts of tensors: its path, the rank and the number of ranks that its head tells."""

    path: str
    rank: int | None
    world: int | None


class Save(NamedTuple):
    """The files of one save, by what they hold."""

    sets: tuple[RankSet, ...]

    @property
    def paths(self) -> list[str]:
        return sorted(path for found in self.sets for path in found.paths.values())


class _Named(NamedTuple):
    """A file whose name has its rank: the text and numbers around that, the digits of it, and its place among them."""

    file: RankedFile
    texts: tuple[str, ...]
    numbers: tuple[str, ...]
    place: int
    rank: int


def saves_of(files: Sequence[RankedFile]) -> list[Save]:
    """The saves among the files of one folder; a file that is of no save with others is in none.

    A file of one rank alone is whole, and no part of a save.
    """
    spread = [file for file in files if file.world != 1]
    named: list[_Named] = []
    unnamed: list[RankedFile] = []
    for alike in _by_texts(spread):
        found = _place_of_rank(alike)
        named += [_named(file, *found) for file in alike] if found is not None else []
        unnamed += alike if found is None else []
    saves = [_save(group) for group in _by_save(named)]
    if (unnamed or _are_single(saves, named)) and _can_be_one(spread):
        return [Save((RankSet(WHOLE, paths=_by_rank((file.rank or 0, file.path) for file in spread)),))]
    return saves


def with_broken(save: Save, paths: Collection[str], world: int) -> Save:
    """A save with the files beside it that have the name of a rank of it, and whose heads say nothing of ranks.

    They are there, and cannot be read: that is another thing than missing.
    """
    for found in save.sets:
        for rank in range(min(world, _MOST_RANKS)):
            name = found.name_of(rank)
            if rank not in found.paths and name in paths:
                found.paths[rank] = name
        found.paths = dict(sorted(found.paths.items()))
    return save


def part_of(name: str) -> str:
    """What a file holds by the words of its name: `model`, `optimizer`, `ema`, `extra`; WHOLE where none says."""
    return next((_PARTS[word] for word in _WORD.findall(name.lower()) if word in _PARTS), WHOLE)


def _by_texts(files: Sequence[RankedFile]) -> Iterator[list[RankedFile]]:
    """Files whose names differ in numbers alone."""
    found: dict[tuple[str, ...], list[RankedFile]] = {}
    for file in files:
        found.setdefault(tuple(_NUMBER.split(_name(file))), []).append(file)
    yield from found.values()


def _place_of_rank(alike: Sequence[RankedFile]) -> tuple[int, int] | None:
    """Which number of the names is the rank, and from where it counts; None where none can be.

    Of several that can, the one by which the most files go together; then the last.
    """
    numbers = [list(map(int, _NUMBER.findall(_name(file)))) for file in alike]
    texts = _NUMBER.split(_name(alike[0]))
    found: list[tuple[int, int, int]] = []
    for place in range(len(numbers[0])):
        start = _start(alike, [row[place] for row in numbers], texts[place])
        others = Counter(tuple(row[:place] + row[place + 1 :]) for row in numbers)
        if start is not None and len({tuple(row) for row in numbers}) == len(numbers):
            found.append((-len(others), place, start))
    return max(found)[1:] if found else None


def _start(alike: Sequence[RankedFile], numbers: Sequence[int], text: str) -> int | None:
    """The number that the first rank has where these numbers are the ranks; None where they are not.

    Where files do not say whose they are, it must be a number below that of the ranks, and not that of a step.
    """
    starts = {number - file.rank for number, file in zip(numbers, alike, strict=True) if file.rank is not None}
    if not starts:
        world = max((file.world or 0 for file in alike), default=0)
        start = 1 if min(numbers) and max(numbers) == world else 0
        return start if max(numbers) - start < world and not _COUNTER.search(text) else None
    return starts.pop() if starts in ({0}, {1}) and all(file.rank is not None for file in alike) else None


def _named(file: RankedFile, place: int, start: int) -> _Named:
    texts, numbers = _NUMBER.split(_name(file)), _NUMBER.findall(_name(file))
    rank = int(numbers[place]) - start if file.rank is None else file.rank
    return _Named(file, tuple(texts), tuple(numbers), place, rank)


def _can_be_one(files: Sequence[RankedFile]) -> bool:
    """Whether files of any names are those of one save: each is of another rank of as many."""
    ranks = [file.rank for file in files]
    worlds = {file.world for file in files}
    return None not in ranks and len(set(ranks)) == len(ranks) and len(worlds) == 1


def _are_single(saves: Sequence[Save], named: Sequence[_Named]) -> bool:
    """Whether every file would be a save of its own, and none of the names is another's with another number."""
    return len(saves) == len(named) > 1 and len({one.texts for one in named}) == len(named)


def _by_save(named: Iterable[_Named]) -> list[list[_Named]]:
    """Files whose names differ in their rank, and in the word for what they hold."""
    found: dict[tuple[object, ...], list[_Named]] = {}
    for one in named:
        words = tuple(_without_part(text) for text in one.texts)
        others = one.numbers[: one.place] + one.numbers[one.place + 1 :]
        found.setdefault((words, others, one.place), []).append(one)
    return list(found.values())


def _without_part(text: str) -> str:
    return _WORD.sub(lambda word: "" if word[0] in _PARTS else word[0], text.lower())


def _save(group: Sequence[_Named]) -> Save:
    by_texts: dict[tuple[str, ...], list[_Named]] = {}
    for one in group:
        by_texts.setdefault(one.texts, []).append(one)
    return Save(tuple(_set(files) for files in by_texts.values()))


def _set(files: Sequence[_Named]) -> RankSet:
    first = files[0]
    paths = _by_rank((one.rank, one.file.path) for one in files)
    return RankSet(part_of(_name(first.file)), paths=paths, template=_template(first))


def _template(one: _Named) -> tuple[str, str, int, int]:
    """What stands before and behind the rank in a path, how many digits it has at least, and from where it counts."""
    folder = one.file.path[: len(one.file.path) - len(_name(one.file))]
    digits = one.numbers[one.place]
    pieces = [text + number for text, number in zip(one.texts, (*one.numbers, ""), strict=True)]
    head = "".join(pieces[: one.place]) + one.texts[one.place]
    tail = "".join(pieces[one.place + 1 :])
    width = len(digits) if digits.startswith("0") else 1
    return f"{folder}{head}", tail, width, int(digits) - one.rank


def _by_rank(pairs: Iterable[tuple[int, str]]) -> dict[int, str]:
    return dict(sorted(pairs))


def _name(file: RankedFile) -> str:
    return file.path.rpartition("/")[2]
