"""Groups the files of a folder by save and rank.

They are told from the rank that each says it is of, then from names.

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
    """A file with parts of tensors.

    Its path, the rank and the number of ranks that its head tells.
    """

    path: str
    rank: int | None
    world: int | None


class Save(NamedTuple):
    """The files of one save, by what they hold."""

    sets: tuple[RankSet, ...]

    @property
    def paths(self) -> list[str]:
        return sorted(path for rank_set in self.sets for path in rank_set.paths.values())


class _Named(NamedTuple):
    """A file whose name has its rank.

    The text and numbers around that, the digits of it, and its place among them.
    """

    file: RankedFile
    texts: tuple[str, ...]
    numbers: tuple[str, ...]
    place: int
    rank: int


def saves_of(files: Sequence[RankedFile]) -> list[Save]:
    """Return the saves among the files of one folder.

    A file that is of no save with others is in none.

    A file of one rank alone is whole, and no part of a save.
    """
    spread = [file for file in files if file.world != 1]
    named: list[_Named] = []
    unnamed: list[RankedFile] = []
    for alike in _by_texts(spread):
        place = _place_of_rank(alike)
        named += [_named(file, *place) for file in alike] if place is not None else []
        unnamed += alike if place is None else []
    saves = [_save(group) for group in _by_save(named)]
    if (unnamed or _are_single(saves, named)) and _can_be_one(spread):
        return [Save((RankSet(WHOLE, paths=_by_rank((file.rank or 0, file.path) for file in spread)),))]
    return saves


def with_broken(save: Save, paths: Collection[str], world: int) -> Save:
    """Return a save with its broken files added.

    They lie beside it, have the name of a rank of it, and their heads say nothing of ranks.

    They are there, and cannot be read: that is another thing than missing.
    """
    for rank_set in save.sets:
        for rank in range(min(world, _MOST_RANKS)):
            name = rank_set.name_of(rank)
            if rank not in rank_set.paths and name in paths:
                rank_set.paths[rank] = name
        rank_set.paths = dict(sorted(rank_set.paths.items()))
    return save


def part_of(name: str) -> str:
    """Return what a file holds by its name's words.

    `model`, `optimizer`, `ema`, `extra`; WHOLE where none says.
    """
    return next((_PARTS[word] for word in _WORD.findall(name.lower()) if word in _PARTS), WHOLE)


def _by_texts(files: Sequence[RankedFile]) -> Iterator[list[RankedFile]]:
    """Yield files whose names differ in numbers alone."""
    by_texts: dict[tuple[str, ...], list[RankedFile]] = {}
    for file in files:
        by_texts.setdefault(tuple(_NUMBER.split(_name(file))), []).append(file)
    yield from by_texts.values()


def _place_of_rank(alike: Sequence[RankedFile]) -> tuple[int, int] | None:
    """Return which number is the rank, and its start.

    It is the place among the numbers of the names; None where none can be.

    Of several that can, the one by which the most files go together; then the last.
    """
    numbers = [list(map(int, _NUMBER.findall(_name(file)))) for file in alike]
    texts = _NUMBER.split(_name(alike[0]))
    candidates: list[tuple[int, int, int]] = []
    for place in range(len(numbers[0])):
        start = _start(alike, [row[place] for row in numbers], texts[place])
        others = Counter(tuple(row[:place] + row[place + 1 :]) for row in numbers)
        if start is not None and len({tuple(row) for row in numbers}) == len(numbers):
            candidates.append((-len(others), place, start))
    return max(candidates)[1:] if candidates else None


def _start(alike: Sequence[RankedFile], numbers: Sequence[int], text: str) -> int | None:
    """Return the number that the first rank has.

    The result is None where these numbers are not the ranks.

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
    """Return True if files can be of one save.

    Their names play no part: each must be of another rank of as many.
    """
    ranks = [file.rank for file in files]
    worlds = {file.world for file in files}
    return None not in ranks and len(set(ranks)) == len(ranks) and len(worlds) == 1


def _are_single(saves: Sequence[Save], named: Sequence[_Named]) -> bool:
    """Return True if every file is its own save.

    No two names may differ in a number alone.
    """
    return len(saves) == len(named) > 1 and len({one.texts for one in named}) == len(named)


def _by_save(named: Iterable[_Named]) -> list[list[_Named]]:
    """Group files whose names differ in rank and part.

    The part is the word for what they hold.
    """
    by_save: dict[tuple[object, ...], list[_Named]] = {}
    for one in named:
        words = tuple(_without_part(text) for text in one.texts)
        others = one.numbers[: one.place] + one.numbers[one.place + 1 :]
        by_save.setdefault((words, others, one.place), []).append(one)
    return list(by_save.values())


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
    """Return the parts of a path around the rank.

    How many digits it has at least, and from where it counts, too.
    """
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
