"""The names of the rank files, and of their folders."""

import re
from collections.abc import Iterable

PARAMS = "params.json"
_FILE = re.compile(r"consolidated\.(\d{2,4})\.pth")


def rank_of(name: str) -> int | None:
    """Return the rank in a file's name.

    None for any other file.
    """
    match = _FILE.fullmatch(name)
    return int(match[1]) if match else None


def file_of(rank: int) -> str:
    """Return the name of a rank's file."""
    return f"consolidated.{rank:02d}.pth"


def survey(paths: Iterable[str]) -> dict[str, dict[int, str]]:
    """Return the files of each folder by rank."""
    by_root: dict[str, dict[int, str]] = {}
    for path in paths:
        root, _, name = path.rpartition("/")
        rank = rank_of(name)
        if rank is not None:
            by_root.setdefault(root, {})[rank] = path
    return {root: dict(sorted(ranks.items())) for root, ranks in by_root.items()}
