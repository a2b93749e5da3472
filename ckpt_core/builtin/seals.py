"""Seals: whether the files are still those that were sealed. Their bytes are compared in the walk of `checks`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ckpt_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from ckpt_core.schema.access import Files
    from ckpt_core.schema.findings import Finding


@hookimpl
def verify(files: "Files") -> "Iterator[Finding]":
    from ckpt_core.builtin.seal_checks import check_seal

    return check_seal(files)
