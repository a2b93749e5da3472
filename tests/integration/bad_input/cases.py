"""What a case of the corpus is: one file or directory, made of bytes in an empty folder, and what must come of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path


class FoundBy(IntEnum):
    """The least that must refuse a case: opening it, proving its headers, or reading its bytes against checksums."""

    INSPECT = 0
    LAYOUT = 1
    BYTES = 2


@dataclass(frozen=True, slots=True)
class Case:
    """A file or directory that somebody may hand us.

    Attributes:
        name: Of the case, in words.
        build: Makes it in the empty folder that it is given, and returns its path.
        exits: Exit codes of a right refusal; empty for a benign control, which must be accepted.
        says: What the refusal must mention.
        found_by: What must refuse it, and everything that looks closer.
        opens: Whether it may be loaded all the same: what is wrong lies beside the tensors.
    """

    name: str
    build: Callable[[Path], Path]
    exits: frozenset[int] = frozenset()
    says: str = ""
    found_by: FoundBy = FoundBy.INSPECT
    opens: bool = False

    @property
    def benign(self) -> bool:
        return not self.exits


def marker_of(folder: Path) -> Path:
    """The file that a payload leaves where it was executed; beside the folder of its case, never in it."""
    return folder.parent / f"{folder.name}.executed"


def named(name: str) -> str:
    """A case's name as that of its folder."""
    return "".join(char if char.isalnum() and char.isascii() else "_" for char in name)[:80]


def file_case(
    name: str,
    content: "bytes | Callable[[], bytes] | Callable[[Path], bytes]",
    exits: Iterable[int] = (),
    says: str = "",
    *,
    file: str,
    found_by: FoundBy = FoundBy.INSPECT,
) -> Case:
    """A case of one file. `content` is its bytes, or makes them; with a parameter it is given the marker's path."""

    def build(folder: Path) -> Path:
        place = folder / file
        if isinstance(content, bytes):
            place.write_bytes(content)
        elif content.__code__.co_argcount:
            place.write_bytes(content(marker_of(folder)))
        else:
            place.write_bytes(content())
        return place

    return Case(name, build, frozenset(exits), says, found_by)
