"""The names of the files, and of the folders that hold them."""

import re
from collections.abc import Iterable

PARAMS = "params.json"
_FILE = re.compile(r"consolidated\.(\d{2,4})\.pth")


def rank_of(name: str) -> int | None:
    """The rank in the name of a file; None for any other file."""
    found = _FILE.fullmatch(name)
    return int(found[1]) if found else None


def file_of(rank: int) -> str:
    """The name of a rank's file."""
    return f"consolidated.{rank:02d}.pth"


def survey(paths: Iterable[str]) -> dict[str, dict[int, str]]:
    """The files of each folder by rank."""
    found: dict[str, dict[int, str]] = {}
    for path in paths:
        root, _, name = path.rpartition("/")
        rank = rank_of(name)
        if rank is not None:
            found.setdefault(root, {})[rank] = path
    return {root: dict(sorted(ranks.items())) for root, ranks in found.items()}
