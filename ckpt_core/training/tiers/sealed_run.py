"""The run that a checkpoint is of, as its seal says."""

from ckpt_core.errors import CkptError
from ckpt_core.storage.listing import list_files
from ckpt_core.storage.sealing import read_seal


def sealed_run(place: str) -> str:
    """Return the run that sealed what is at a place.

    An empty one where no seal says it; CkptError where the place cannot be read.
    """
    seal = read_seal(list_files(place))
    return "" if seal is None else str(seal.provenance.get("run", ""))


def is_of_run(place: str, run: str) -> bool:
    """Return whether a run sealed what is at a place.

    Not where it cannot be read.
    """
    try:
        return run != "" and sealed_run(place) == run
    except CkptError:
        return False
