"""Checkpoints that are directories, of every layout, with one thing wrong, and what must refuse each."""

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.integration.bad_input.clean_layouts import Layout
from tests.integration.bad_input.lookalike_cases import LFS

VERIFY = frozenset(("layout", "bytes", "resume", "locate"))
"""What must refuse a file that is there and is not what it should be."""

RESUME = frozenset(("resume", "locate"))
"""What must refuse a checkpoint without a part that a training needs."""

ANSWERS = frozenset((0, 1, 2, 3, 4, 6, 7, 8))
"""Exit codes of an answer: the others are a place that cannot be reached, a crash and a bug."""

REFUSALS = frozenset((3, 4, 6, 7))
"""Exit codes of a refusal: nothing there, damage, nothing that is known, what would run code."""

PAGE = b"<!DOCTYPE html>\n<html><head><title>404</title></head><body>Not found</body></html>\n"


@dataclass(frozen=True, slots=True)
class Damaged:
    """A directory that somebody may hand us.

    Attributes:
        name: Of the case, in words.
        layout: What it was when it was whole.
        build: Makes it in the empty folder that it is given.
        refused_by: The operations that must refuse it.
        noticed: Whether a verification that does not refuse it must say at least a warning.
        exits: Exit codes of a right refusal.
        about: What a refusal must mention; empty for no matter.
        clean: Whether nothing is wrong with it.
    """

    name: str
    layout: Layout
    build: Callable[[Path], object]
    refused_by: frozenset[str] = frozenset()
    noticed: bool = False
    exits: frozenset[int] = REFUSALS
    about: str = ""
    clean: bool = False

    def jobs(self, place: Path) -> tuple[Path, tuple[str, ...]]:
        """The path to ask about, and the operations."""
        ref = place / self.layout.folder
        return ref, (*OPERATIONS, f"locate={place}", f"convert={self.layout.component}")


OPERATIONS = ("inspect", "layout", "bytes", "resume", "shown")


def cases(layout: Layout) -> Iterator[Damaged]:
    """Every case of a layout; names are unique."""
    yield Damaged(f"{layout.format}: whole", layout, lambda place: layout.write(place, layout.files), clean=True)
    for path in layout.files:
        yield from _of_file(layout, path)
    yield from _half_written(layout)


def _of_file(layout: Layout, path: str) -> Iterator[Damaged]:
    name, about = f"{layout.format}: {path}", Path(path).name
    for what, change in {**_contents(layout.files[path]), **_PLACES}.items():
        refused = _refusing(layout, path, cut=what.startswith("cut"))
        yield Damaged(f"{name}: {what}", layout, changed(layout, path, change), refused, path == _POINTER, about=about)
    locked, exits = changed(layout, path, _unreadable(layout.files[path])), REFUSALS | {5}
    refused = _refusing(layout, path)
    yield Damaged(f"{name}: not to be read", layout, locked, refused, path == _POINTER, exits, about)
    for what, change in {"gone": _nothing, "an empty directory": Path.mkdir}.items():
        yield Damaged(f"{name}: {what}", layout, changed(layout, path, change), *_without(layout, [path]))


_POINTER = "latest"
"""Names the tag to go on from; the tags are found without it, and that it is damaged is said."""


def _refusing(layout: Layout, path: str, *, cut: bool = False) -> frozenset[str]:
    """What must refuse a damaged file; a component whose own bytes are all there may be converted out of a cut one."""
    if path == _POINTER:
        return frozenset()
    converting = layout.needs(path) and not (cut and path.endswith(".distcp"))
    return VERIFY | ({"convert"} if converting else frozenset())


def _half_written(layout: Layout) -> Iterator[Damaged]:
    """What is there when the writer was stopped between two files."""
    names = list(layout.files)
    for count in range(len(names)):
        if count not in layout.whole_after:
            build = _written(layout, names[:count])
            name = f"{layout.format}: the first {count} of {len(names)} files"
            yield Damaged(name, layout, build, _without(layout, names[count:])[0])


def _without(layout: Layout, lacks: list[str]) -> tuple[frozenset[str], bool]:
    """What must refuse a checkpoint that lacks files, and whether every verification must notice it."""
    needed = any(map(layout.needs, lacks))
    refused = RESUME if needed or not set(lacks) <= layout.optional else frozenset()
    return refused | ({"convert"} if needed else frozenset()), needed


def _written(layout: Layout, present: list[str]) -> Callable[[Path], object]:
    return lambda place: layout.write(place, present)


Change = Callable[[Path], object]


def changed(layout: Layout, path: str, change: Change) -> Callable[[Path], object]:
    """A build of everything but one file, whose path is then given to `change`."""

    def build(place: Path) -> None:
        folder = layout.write(place, [name for name in layout.files if name != path])
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        change(folder / path)

    return build


def holding(content: bytes) -> Change:
    return lambda path: path.write_bytes(content)


def _contents(whole: bytes) -> dict[str, Change]:
    size = len(whole)
    cuts = {"to nothing": 0, "to its first byte": 1, "in half": size // 2, "by its last byte": size - 1}
    return {
        **{f"cut {how}": holding(whole[:length]) for how, length in cuts.items()},
        "a git-lfs pointer": holding(LFS),
        "a web page": holding(PAGE),
        "zeros": holding(bytes(size)),
        "random bytes": holding(random.Random(size).randbytes(size)),
    }


def _nothing(path: Path) -> None:
    """The file is not there, and its folder stays, as after a save that was stopped."""


def _unreadable(content: bytes) -> Change:
    def make(path: Path) -> None:
        path.write_bytes(content)
        path.chmod(0)

    return make


def _loop(path: Path) -> None:
    other = path.with_name(f"{path.name}.other")
    path.symlink_to(other.name)
    other.symlink_to(path.name)


_PLACES: dict[str, Change] = {
    "a pipe": os.mkfifo,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "two links to each other": _loop,
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to /": lambda path: path.symlink_to("/"),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
}
