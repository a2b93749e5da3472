"""Which directories of a listing hold a file a rank, told from names alone."""

from collections.abc import Iterator

from ckpt_core import Confidence, Files, FormatMatch, Kind
from ckpt_core.codecs.steps import step_of_name
from ckpt_fsdp.ranks.names import RankSet, group, parse


def find(files: Files) -> Iterator[FormatMatch]:
    """A match for the listed directory itself and for each directory below it with the rank files of a model."""
    if files.location.kind is Kind.FILE:
        return
    roots: dict[str, list[str]] = {}
    for path in files.entries:
        root, _, name = path.rpartition("/")
        if parse(name) is not None:
            roots.setdefault(root, []).append(path)
    for root, paths in sorted(roots.items()):
        sets = group(paths)
        if any(found.part != "optimizer" or found.world is not None for found in sets):
            yield FormatMatch("fsdp-ranks", _confidence(sets), _evidence(sets), root, _step(files, root))


def _confidence(sets: list[RankSet]) -> Confidence:
    return Confidence.CERTAIN if any(found.world is not None for found in sets) else Confidence.LIKELY


def _evidence(sets: list[RankSet]) -> str:
    first = sets[0]
    path = next(iter(first.paths.values())).rpartition("/")[2]
    of = f" of {first.world}" if first.world is not None else ""
    return f"files of {len(first.paths)}{of} ranks: {path}, …"


def _step(files: Files, root: str) -> int | None:
    """The step in the name of the directory or of the one above it: `global_step_20/actor`."""
    for name in reversed(f"{files.location.url}/{root}".rstrip("/").split("/")[-2:]):
        step = step_of_name(name)
        if step is not None:
            return step
    return None
