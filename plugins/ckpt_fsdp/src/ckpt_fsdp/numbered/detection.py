"""Recognises numbered files that are shards of one model.

They have no tensor in common, by their heads.
"""

from collections.abc import Iterator

from ckpt_core import CkptError, Confidence, Files, FormatMatch, LocationKind
from ckpt_core.layouts import step_of_name
from ckpt_fsdp.numbered.heads import names_in
from ckpt_fsdp.numbered.names import SUFFIXES, Siblings, siblings

NAME = "numbered-shards"


def find(files: Files) -> Iterator[FormatMatch]:
    """Yield a match for the shards of each model.

    There is one for each folder with the shards of one model, and for each of several models in a folder.
    """
    if files.location.kind is LocationKind.FILE:
        return
    by_folder: dict[str, list[str]] = {}
    for path in files.entries:
        if path.lower().endswith(SUFFIXES):
            by_folder.setdefault(path.rpartition("/")[0], []).append(path)
    for root, paths in sorted(by_folder.items()):
        models = shards_in(files, paths)
        here = [path for path in paths if "/" not in path.removeprefix(root).lstrip("/")]
        whole = len(models) == 1 and set(models[0].paths.values()) >= set(here)
        for one in models:
            yield _match(files, root if whole else next(iter(one.paths.values())), one)


def shards_in(files: Files, paths: list[str]) -> list[Siblings]:
    """Return the shards of models among a folder's files."""
    return [one for one in siblings(paths) if one.count is not None or _are_disjoint(files, one)]


def _match(files: Files, root: str, one: Siblings) -> FormatMatch:
    of = f" of {one.count}" if one.count is not None else ""
    first = next(iter(one.paths.values()))
    evidence = f"{len(one.paths)}{of} numbered files with tensors of their own: {first.rpartition('/')[2]}, …"
    step = step_of_name(root or files.location.name) if root != first else None
    return FormatMatch(NAME, Confidence.LIKELY, evidence, root, step, files=tuple(one.paths.values()))


def _are_disjoint(files: Files, one: Siblings) -> bool:
    """Return True if the files share no tensor.

    The heads show the tensors, and every file that can be read has some.

    Files with the same tensors are checkpoints of their own: the first two show it, and no more are looked at.
    """
    seen: set[str] = set()
    readable = 0
    for path in one.paths.values():
        try:
            names = names_in(files.head(path))
        except CkptError:
            continue  # opening says what is wrong with the place
        if names is None:
            continue
        if not names or names & seen:
            return False
        seen |= names
        readable += 1
    return readable > 1
