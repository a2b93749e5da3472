"""All files of a download.

They come from the cache, or from where W&B stores them, the largest first.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ckpt_wandb.artifacts import Entry, PinnedArtifact
from ckpt_wandb.cache import Cache
from ckpt_wandb.parallel.incoming import Incoming
from ckpt_wandb.parallel.pipeline import bring_all
from ckpt_wandb.sources import Source, matches


@dataclass(frozen=True, slots=True)
class Fetched:
    """One file that is there now.

    Attributes:
        received: Bytes that this run read from a server.
        kept: Bytes that were on this machine already.
        unverifiable: Why its bytes could not be compared with a hash; "" where they were.
    """

    received: int
    kept: int
    unverifiable: str = ""


def fetch_all(
    artifact: PinnedArtifact,
    wanted: Mapping[str, Entry],
    stage: Path,
    *,
    cache: Cache | None,
    progress: Callable[[int], None],
) -> Mapping[str, Fetched]:
    """Bring files into a stage, unless an earlier run did.

    Args:
        artifact: What they are of.
        wanted: What is brought, by its path in the stage.
        stage: The folder.
        cache: Where files of earlier downloads may be; None for nowhere.
        progress: Told of bytes that came; any thread may call it.

    Raises:
        CorruptError: A file's bytes are not those of the manifest, twice.
        UnsafeContentError, ReplacedError: As `Source`.
        NoAnswerError: As a read.
    """
    done: dict[str, Fetched] = {}
    for path, entry in wanted.items():
        kept = _on_this_machine(artifact, entry, stage / path, cache)
        if kept is not None:
            done[path] = kept
    left = {path: entry for path, entry in wanted.items() if path not in done}
    for last in (False, True):
        coming = {path: Incoming(Source(artifact, entry), stage / path) for path, entry in left.items()}
        right = bring_all(sorted(coming.values(), key=lambda one: -one.source.size), progress)
        for path, one in coming.items():
            if one in right:
                done[path] = Fetched(one.source.size - one.kept, one.kept, one.source.unverifiable)
                if cache is not None and one.source.entry.is_checked:
                    cache.keep(one.source.entry, stage / path)
            elif last:
                raise one.wrong()
        left = {path: entry for path, entry in left.items() if path not in done}
        if not left:
            break
    return {path: done[path] for path in sorted(wanted)}


def _on_this_machine(artifact: PinnedArtifact, entry: Entry, path: Path, cache: Cache | None) -> Fetched | None:
    """Return a file of an earlier run, or of the cache.

    None where it has to be asked for.
    """
    if path.exists():
        size = entry.size if entry.is_checked else Source(artifact, entry).size
        if matches(path, entry, size):
            return Fetched(0, size or 0, "" if entry.is_checked else Source(artifact, entry).unverifiable)
        path.unlink()
    if cache is not None and entry.is_checked and cache.take(entry, path):
        return Fetched(0, path.stat().st_size)
    return None
