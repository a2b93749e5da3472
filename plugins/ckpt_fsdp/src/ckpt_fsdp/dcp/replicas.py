"""Compares elements that several ranks stored.

Each rank has a metadata of its own: equal boxes are replicas.
"""

from collections.abc import Iterator

from ckpt_core import Component, Files, Finding, Severity, printable
from ckpt_core.codecs import chunk_finder
from ckpt_fsdp.replicas import differing_copies


def check_replicas(files: Files, components: tuple[Component, ...]) -> Iterator[Finding]:
    """Yield DC012 for tensors with differing replicas.

    Two ranks stored different elements of one box.
    """
    for name, one, other in differing_copies(files, components, find_chunk=chunk_finder(files)):
        assert one.stored is not None and other.stored is not None
        paths = f"{printable(one.stored.path)} and {printable(other.stored.path)}"
        message = f"{printable(name)}: {paths} hold different elements of one part, where copies should be"
        hint = "one of the files is damaged, or of another save"
        yield Finding("DC012", Severity.ERROR, message, other.stored.path, name, hint)
