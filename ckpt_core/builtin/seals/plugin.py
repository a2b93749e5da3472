"""The plugin that checks and repairs seals.

The bytes of sealed files are compared in the walk of `checks`.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ckpt_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from ckpt_core.schema.access import Files
    from ckpt_core.schema.findings import Finding
    from ckpt_core.schema.repairs import Irreparable, RepairAction
    from ckpt_core.schema.verification import VerifyReport


@hookimpl
def verify(files: "Files") -> "Iterator[Finding]":
    from ckpt_core.builtin.seals.checks import check_seal

    return check_seal(files)


@hookimpl
def repair(files: "Files", report: "VerifyReport") -> "Iterator[RepairAction | Irreparable]":
    from ckpt_core.builtin.seals.repair import propose

    return propose(files, report)
