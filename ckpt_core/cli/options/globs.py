"""Expands the globs that no shell has expanded.

They stand in quotes, or come from a program that starts ckpt without a shell.
"""

import re
from collections.abc import Iterator, Sequence
from os.path import lexists

from ckpt_core.schema.locations import split_member
from ckpt_core.schema.side_files.reserved_names import is_ours

_MAGIC = frozenset("*?[")
"""What makes a name a pattern. Source: the module `glob`."""


def expanded(refs: Sequence[str]) -> Iterator[str]:
    """Yield each ref, and the paths that a glob matches.

    They are in the order of their numbers: `step_20` before `step_100`.

    What a glob matches is without seals and stages. One that matches nothing stays as it is, so that the search says
    that nothing is there.
    """
    for ref in refs:
        yield from _matches(ref) if is_glob(ref) else [ref]


def is_glob(ref: str) -> bool:
    """Return True if a ref is a local glob.

    A file may have such a name itself.
    """
    return not _MAGIC.isdisjoint(ref) and "://" not in ref and not lexists(split_member(ref)[0])


def _matches(ref: str) -> Sequence[str]:
    from glob import glob

    place, member = split_member(ref)
    paths = set(glob(place, recursive=True))
    kept = sorted((path for path in paths if not is_ours(path, paths)), key=_by_numbers)
    return [f"{path}#{member}" if member else path for path in kept] or [ref]


def _by_numbers(path: str) -> list[tuple[int, str]]:
    return [(int(text) if text.isdecimal() else -1, text) for text in re.split(r"(\d+)", path)]
