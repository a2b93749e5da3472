"""The hooks of this plugin."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ckpt_core import hookimpl

if TYPE_CHECKING:
    from ckpt_core import Candidate, Query


@hookimpl
def locate(query: "Query") -> "Iterable[Candidate]":
    if query.place is None or ":" not in query.place:
        return ()
    from ckpt_wandb.refs import SCHEME, is_bare

    if not query.place.startswith(SCHEME) and not is_bare(query.place):
        return ()
    from ckpt_wandb.locating import candidates

    return candidates(query)
