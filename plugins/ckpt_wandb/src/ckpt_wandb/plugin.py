"""The hooks of this plugin."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ckpt_core import hookimpl

if TYPE_CHECKING:
    from ckpt_core import Candidate, Files, Finding, Query, VerifyRequest


@hookimpl
def locate(query: "Query") -> "Iterable[Candidate]":
    if query.place is None or ":" not in query.place:
        return ()
    from ckpt_wandb.refs import SCHEME, is_bare

    if not query.place.startswith(SCHEME) and not is_bare(query.place):
        return ()
    from ckpt_wandb.locating import candidates

    return candidates(query)


@hookimpl
def verify(files: "Files", request: "VerifyRequest") -> "Iterable[Finding]":
    if not files.location.url.startswith("wandb://"):
        return ()
    from ckpt_core import Depth

    if request.depth is not Depth.BYTES:
        return ()
    from ckpt_wandb.manifest_checks import manifest_checks

    return manifest_checks(files)
