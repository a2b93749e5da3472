"""Seals: whether a checkpoint is still what was sealed."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ckpt_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from ckpt_core.schema.access import Checkpoint, Files
    from ckpt_core.schema.findings import Finding, VerifyRequest


@hookimpl
def verify(files: "Files", checkpoint: "Checkpoint | None", request: "VerifyRequest") -> "Iterator[Finding]":
    from ckpt_core.builtin.seal_checks import check_seal

    return check_seal(files, checkpoint, request)
