"""Selects the files of a checkpoint that are copied.

They are all, those of some components, or those whose paths match.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from ckpt_core.arguments import argument, marked
from ckpt_core.errors import CkptError, FormatError, LoadError, UnreachableError, UsageError
from ckpt_core.manager.opening import open_match
from ckpt_core.reading.checkpoints import StoredCheckpoint, places
from ckpt_core.schema.access import Files
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.text import printable
from ckpt_core.storage.copying.noted_reads import NotedReads
from ckpt_core.storage.files.chosen import ChosenPaths
from ckpt_core.verbs.load import Place


@dataclass(frozen=True, slots=True)
class ChosenFiles:
    """The files that are copied.

    Attributes:
        paths: The files, in the order of the listing.
        left_out: Why each other file is not copied.
        format: What the copy is of: the whole's format, or that of the part.
        note: What is to be known of the part; "" for nothing.
    """

    paths: tuple[str, ...]
    left_out: Mapping[str, str]
    format: str
    note: str = ""


def choose(
    place: Place,
    checkpoint: StoredCheckpoint,
    *,
    components: Sequence[str],
    include: Sequence[str],
    exclude: Sequence[str],
) -> ChosenFiles:
    """The files of a checkpoint that are copied.

    Args:
        place: Where it was found.
        checkpoint: The same, open.
        components: Labels; none for all.
        include: Globs of paths, or of the last parts of them; none for all.
        exclude: The same of what is left out.

    Raises:
        UsageError: A component is not there, or cannot be had without others; or nothing is left.
        UnreachableError: A file that belongs to it cannot be read.
    """
    files = place.files
    left: dict[str, str] = {}
    if components:
        left = _of_other_components(place, checkpoint, components)
    for path in files.entries:
        if not _is_wanted(path, include, exclude):
            left.setdefault(path, "as asked")
    for path, why in files.skipped.items():
        if _is_wanted(path, include, exclude):
            step = f"leave it out with {argument('exclude', [path])}"
            raise UnreachableError(f"{printable(path)}: {why}, so that it cannot be copied; {step}")
    paths = tuple(path for path in files.entries if path not in left)
    if not paths:
        raise UsageError(f"{files.location}: no file is left by what was asked for")
    if not left:
        return ChosenFiles(paths, {}, checkpoint.match.format)
    return _opened_alone(place, checkpoint, ChosenFiles(paths, left, checkpoint.match.format), components)


def _is_wanted(path: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    return (not include or _matches(path, include)) and not _matches(path, exclude)


def _matches(path: str, patterns: Sequence[str]) -> bool:
    """Return True if a path matches one of some globs.

    The globs are of paths, last parts, or folders above.
    """
    ways = [path, path.rpartition("/")[2], *_folders(path)]
    return any(fnmatchcase(way, pattern.rstrip("/")) for way in ways for pattern in patterns)


def _folders(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _of_other_components(place: Place, checkpoint: StoredCheckpoint, labels: Sequence[str]) -> dict[str, str]:
    """Return the files that some components do without.

    Each comes with what is in it. A file that the layout is opened by is not among them.
    """
    wanted = [checkpoint.component(label) for label in labels]
    holds = {one.label: _files_of(checkpoint, one) for one in checkpoint.manifest.components}
    kept = set().union(*(holds[one.label] for one in wanted))
    others = {label: paths for label, paths in holds.items() if label not in {one.label for one in wanted}}
    for label, paths in others.items():
        _refuse_shared(checkpoint, wanted, label, kept & paths)
    held = {path: label for label, paths in others.items() if label != "config" for path in paths}
    needed = _read_to_open(place) - held.keys()
    return {
        path: f"holds {held[path]}" if path in held else "is no part of what was asked for"
        for path in place.files.entries
        if path not in kept | needed
    }


def _files_of(checkpoint: StoredCheckpoint, component: Component) -> set[str]:
    """Return the files that a component is in.

    They are those of its tensors, and where its layout says that it is kept.
    """
    paths = {path for name, info in component.tensors.infos() for path, _, _ in places(component, name, info)}
    kept_at = [role.where for role in checkpoint.manifest.roles if role.label == component.label]
    return paths | {path for path in kept_at if path in checkpoint.files.entries}


def _refuse_shared(checkpoint: StoredCheckpoint, wanted: Sequence[Component], other: str, paths: set[str]) -> None:
    if not paths:
        return
    labels = [one.label for one in wanted]
    raise UsageError(
        f"{checkpoint.location}: {printable(min(paths))} holds {', '.join(labels)} and {other}, and files are copied "
        f"as they are; ckpt convert with {argument('components', labels)} takes them apart"
    )


def _read_to_open(place: Place) -> set[str]:
    noted = NotedReads(place.files)
    assert place.match is not None
    open_match(place.manager, noted, place.match, hints=place.resolution.query.hints)
    return noted.read_paths


def _opened_alone(
    place: Place, checkpoint: StoredCheckpoint, chosen: ChosenFiles, components: Sequence[str]
) -> ChosenFiles:
    """Return the selection with the format of the part alone.

    A note says so where the part has none.

    Raises:
        UsageError: Components were asked for, and their files do not open without the others.
    """
    alone: Files = ChosenPaths(place.files, set(chosen.paths))
    try:
        match = place.manager.hooks.detect_format(files=alone).best
        if match is None:
            raise UsageError("no format claims it")
        opened = open_match(place.manager, alone, match, lenient=True)
        _require(opened, checkpoint, components)
        return replace(chosen, format=match.format)
    except (FormatError, LoadError, UsageError) as error:
        if components:
            raise _not_alone(checkpoint, components, error) from error
        return replace(chosen, note=f"what is copied does not open by itself: {error.message}")


def _require(opened: StoredCheckpoint, checkpoint: StoredCheckpoint, components: Sequence[str]) -> None:
    for label in components:
        if set(opened.component(label).tensors) != set(checkpoint.component(label).tensors):
            raise UsageError(f"{label} is not the same without the other files")


def _not_alone(checkpoint: StoredCheckpoint, components: Sequence[str], error: CkptError) -> UsageError:
    return UsageError(
        f"{checkpoint.location}: its layout does not open with the files of {', '.join(components)} alone "
        f"({marked(error.message)}); ckpt convert with {argument('components', list(components))} takes them out"
    )
