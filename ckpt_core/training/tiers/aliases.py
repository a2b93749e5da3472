"""Aliases of a save.

The names that its checkpoint is to have where it is uploaded to. They stand in its seal, and so are committed with it:
whichever process uploads it finds them there.
"""

from collections.abc import Mapping

from ckpt_core.errors import CkptError
from ckpt_core.storage.listing import list_files
from ckpt_core.storage.sealing import read_seal

_SEALED = "aliases"


def sealed_with(aliases: tuple[str, ...]) -> Mapping[str, list[str]]:
    """Return what the seal of a save says of its aliases."""
    return {_SEALED: list(aliases)} if aliases else {}


def sealed_aliases(place: str, run: str) -> tuple[str, ...]:
    """Return the aliases that a checkpoint of a run was saved with.

    None where it is another run's, or has no seal that can be read.
    """
    try:
        seal = read_seal(list_files(place))
    except CkptError:
        return ()
    if seal is None or seal.provenance.get("run") != run:
        return ()
    named = seal.provenance.get(_SEALED, ())
    return tuple(map(str, named)) if isinstance(named, list | tuple) else ()
