"""Load together: all ranks open the checkpoint that one found."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ckpt_core.errors import CorruptError
from ckpt_core.manager.plugin_manager import CkptPluginManager
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.schema.access import Checkpoint
from ckpt_core.schema.locations import Query
from ckpt_core.storage.ranks.ranks import Ranks
from ckpt_core.storage.urls import local_path
from ckpt_core.verbs.load import load
from ckpt_core.verbs.locate import locate
from ckpt_core.verbs.reference import Reference, query_of


def load_together(
    ranks: Ranks,
    ref: Reference | None,
    *,
    purpose: str,
    hints: Mapping[str, object] | None = None,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
    accept_damage: bool = False,
    manager: CkptPluginManager | None = None,
) -> StoredCheckpoint:
    """Open a checkpoint on every rank.

    Rank 0 resolves what was asked for, and the others open what it has found.

    Args:
        ranks: The ranks; with one, this is `load`.
        ref: As for `load`.
        purpose: What it is to be used for, the same text on every rank, or they are about different things.
        hints: As for `load`.
        format: As for `load`.
        options: As for `load`.
        accept_damage: As for `load`.
        manager: As for `load`.

    Raises:
        CorruptError: Ranks see different files, or are about different things.
        CkptError: As `load`, on every rank.
    """
    given: Reference | None = ref
    if ranks.world > 1 and not isinstance(ref, Checkpoint):
        query = query_of(ref, hints=hints)
        found = ranks.together(lambda: _pinned(query, manager) if ranks.leads else "")
        given, hints = replace(query, ref=ranks.from_leader(found)), None
    checkpoint = ranks.together(
        lambda: load(given, hints=hints, format=format, options=options, accept_damage=accept_damage, manager=manager)
    )
    if ranks.world > 1:
        _compare(ranks, checkpoint, purpose)
    return checkpoint


def _pinned(query: Query, manager: CkptPluginManager | None) -> str:
    location = locate(query, manager=manager).require()
    path = local_path(location.url)
    place = location.url if path is None else os.path.abspath(path)
    return place if location.member is None else f"{place}#{location.member}"


def _compare(ranks: Ranks, checkpoint: StoredCheckpoint, purpose: str) -> None:
    import xxhash

    listed = [f"{path} {entry.size} {entry.version}" for path, entry in checkpoint.files.entries.items()]
    seen = "\n".join([checkpoint.match.format, *listed])
    told = ranks.exchange(
        [xxhash.xxh3_128_hexdigest(text.encode(errors="surrogateescape")) for text in (seen, purpose)]
    )
    for rank, (files, use) in enumerate(told):
        if files != told[0][0]:
            raise CorruptError(
                f"{checkpoint.location}: rank 0 and rank {rank} see different files there; give every rank the same "
                "place, and wait until nothing writes there; nothing was loaded"
            )
        if use != told[0][1]:
            raise CorruptError(
                f"{checkpoint.location}: rank 0 and rank {rank} load different things from it, models or arguments; "
                "give every rank the same; nothing was loaded"
            )
