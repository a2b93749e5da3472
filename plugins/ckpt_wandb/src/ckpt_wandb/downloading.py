"""Download an artifact.

Each file is hashed against the manifest, the folder named whole or not at all.

The client's own download is not used: it compares no digests, may give another version's bytes out of its cache, and
keeps a file that was cut short.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ckpt_core import OverwriteError, Query, printable
from ckpt_wandb.artifacts import Entry, PinnedArtifact, open_artifact
from ckpt_wandb.cache import shared_cache
from ckpt_wandb.choosing import UNFINISHED, chosen
from ckpt_wandb.parallel.fetching import Fetched, fetch_all
from ckpt_wandb.refs import parse
from ckpt_wandb.sources import Source, matches
from ckpt_wandb.stage import filled


@dataclass(frozen=True, slots=True)
class Download:
    """The outcome of a download.

    Attributes:
        ref: The artifact, with the version that was meant.
        digest: Of its manifest.
        folder: Where it is now.
        verified: The files whose bytes have the hash that the manifest says.
        unverifiable: Why that could not be told of each of the others.
        received: Bytes that this run read from a server.
        kept: Bytes that were there already, or in the cache of this machine.
    """

    ref: str
    digest: str
    folder: str
    verified: tuple[str, ...]
    unverifiable: Mapping[str, str]
    received: int
    kept: int


def download(
    ref: str,
    folder: str | os.PathLike[str],
    *,
    type: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Download:
    """Bring an artifact, or one checkpoint in it, into a folder.

    Run again after an interruption, it goes on where it stopped; of what is there already no byte is read again.

    Args:
        ref: `wandb://entity/project/name:alias`, without `wandb://` too, with `/path` or `#checkpoint-400`.
        folder: A new folder, an empty one, or one that holds exactly this already.
        type: What the artifact must be, such as `model`; None for any.
        progress: Told of how many bytes came; any thread may call it.

    Raises:
        CheckpointNotFoundError: There is no such artifact, or nothing of that name in it.
        CorruptError: A file's bytes are not those of the manifest.
        UnsafeContentError: A name leads out of the folder, or a reference to where none is followed.
        OverwriteError: The folder holds something else.
        LockedError: Another process downloads it there.
        BudgetError: The disk is full.
        NoAnswerError: W&B, or what a reference leads to, does not answer.
    """
    query = Query(ref)
    asked = parse(query.place or "")
    artifact = open_artifact(asked, type=type)
    inside = "/".join(part for part in (asked.path, query.member or "") if part)
    wanted = chosen(artifact, inside)
    destination = Path(folder).absolute()
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        return _already(artifact, wanted, destination)
    key = hashlib.sha256(f"{artifact.ref}\n{artifact.digest}\n{inside}".encode()).hexdigest()[:16]
    with filled(destination, key, sum(entry.size or 0 for entry in wanted.values())) as stage:
        _remove_others(stage, wanted)
        fetched = fetch_all(artifact, wanted, stage, cache=shared_cache(), progress=progress or _nobody)
    return _report(artifact, destination, fetched)


def _nobody(nbytes: int) -> None:
    """Take what nobody wants to know."""


def _remove_others(stage: Path, wanted: Mapping[str, Entry]) -> None:
    """Remove what nobody of us put into a stage.

    It would be published.
    """
    known = {stage / path for path in wanted} | {stage / f"{path}{UNFINISHED}" for path in wanted}
    for path in stage.rglob("*"):
        if not path.is_dir() and path not in known:
            path.unlink()


def _already(artifact: PinnedArtifact, wanted: Mapping[str, Entry], destination: Path) -> Download:
    """Return the report where a folder holds just this.

    OverwriteError where it does not.
    """
    have = {str(path.relative_to(destination)) for path in destination.rglob("*") if not path.is_dir()}
    if have == wanted.keys():
        sources = {path: Source(artifact, entry) for path, entry in wanted.items() if not entry.is_checked}
        sizes = {path: sources[path].size if path in sources else entry.size for path, entry in wanted.items()}
        if all(matches(destination / path, entry, sizes[path]) for path, entry in wanted.items()):
            reasons = {path: source.unverifiable for path, source in sources.items()}
            fetched = {path: Fetched(0, sizes[path] or 0, reasons.get(path, "")) for path in sorted(wanted)}
            return _report(artifact, destination, fetched)
    raise OverwriteError(
        f"{printable(str(destination))}: holds something else than {artifact.ref}; take a new folder, or empty it"
    )


def _report(artifact: PinnedArtifact, destination: Path, fetched: Mapping[str, Fetched]) -> Download:
    return Download(
        ref=str(artifact.ref),
        digest=artifact.digest,
        folder=str(destination),
        verified=tuple(path for path, one in fetched.items() if not one.unverifiable),
        unverifiable={path: one.unverifiable for path, one in fetched.items() if one.unverifiable},
        received=sum(one.received for one in fetched.values()),
        kept=sum(one.kept for one in fetched.values()),
    )
