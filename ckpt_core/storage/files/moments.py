"""Proves that work holds for one moment of a place.

What was read is proved, at its end, to be still what is there.

An error that was met in a place that somebody wrote to meanwhile says nothing of its content: two versions of it were
mixed. It becomes a ReplacedError, which says to run it again.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from ckpt_core.errors import CkptError, UnreachableError
from ckpt_core.schema.access import Checkpoint, Files


@contextmanager
def one_moment(*places: Files | Checkpoint, failures_only: bool = False) -> Iterator[None]:
    """Do a block of work that reads places.

    Args:
        places: What is read.
        failures_only: Ask only where the block fails: somebody else asks at the end of the whole.

    Raises:
        ReplacedError: One of them was replaced, changed or removed meanwhile, whatever else came of the block.
    """
    try:
        yield
    except UnreachableError:
        raise
    except CkptError as error:
        _check(places, error)
        raise
    if not failures_only:
        for place in places:
            place.check_unchanged()


def _check(places: tuple[Files | Checkpoint, ...], error: CkptError) -> None:
    suspects = [] if error.path is None else [error.path]
    for place in places:
        try:
            place.check_unchanged(failed=True, suspects=suspects)
        except CkptError as changed:
            raise changed from error
