"""Recognises a copy that an earlier run has finished.

It was killed behind its rename, say. The copy is proved, or nothing is said.

Its seal is that of the source, or names the work that it came of; and every byte that is there is compared with it.
"""

from dataclasses import replace

from ckpt_core.errors import CkptError, LockedError
from ckpt_core.manager.plugin_manager import CkptPluginManager
from ckpt_core.schema.access import Files
from ckpt_core.schema.side_files.seals import Seal
from ckpt_core.storage.copying.work import CopyWork
from ckpt_core.storage.sealing import digests_of, read_seal
from ckpt_core.storage.writing.uploads.sealed_places import hold_sealed, sweep_behind
from ckpt_core.verbs.load import Checks, find

PLAN = "plan"
"""Under which name a seal's provenance has the digest of the work that it came of."""


def copied_already(destination: str, work: CopyWork, old: Seal | None, manager: CkptPluginManager) -> bool:
    """Return True if a destination holds the outcome of some work.

    Args:
        destination: Where the copy would be.
        work: What would be copied.
        old: The seal that the copy would have, without what a store adds to it; None for one of its own.
        manager: The plugin manager.

    Raises:
        LockedError: Another process is writing there.
    """
    try:
        with hold_sealed(destination, work.files.location.kind) as is_sealed:
            proved = is_sealed and _is_made(destination, work, old, manager)
    except LockedError:
        raise
    except CkptError:
        return False  # what is there cannot be read as that: nothing is proved
    if proved:
        sweep_behind(destination)
    return proved


def _is_made(destination: str, work: CopyWork, old: Seal | None, manager: CkptPluginManager) -> bool:
    files = find(destination, manager=manager, checks=Checks(reads=False)).files
    return _is_of(read_seal(files), work, old) and _holds(files, read_seal(files))


def _is_of(seal: Seal | None, work: CopyWork, old: Seal | None) -> bool:
    if seal is None:
        return False
    digest = work.digest()
    here = replace(seal, id="", generation="", objects={})
    return here == old if old is not None else bool(digest) and seal.provenance.get(PLAN) == digest


def _holds(files: Files, seal: Seal | None) -> bool:
    sealed = {} if seal is None else seal.files
    return files.entries.keys() >= sealed.keys() and all(digests_of(files, path) == sealed[path] for path in sealed)
