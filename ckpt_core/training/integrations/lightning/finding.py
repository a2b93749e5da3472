"""Finds the newest whole checkpoint that Lightning saved in a folder.

It is found by content, and not by name or time.
"""

import os
from typing import NamedTuple

from ckpt_core.errors import AmbiguousRunError, CheckpointNotFoundError, CkptError, IncompleteError, OverwriteError
from ckpt_core.log import Logger
from ckpt_core.schema.side_files.reserved_names import DIRECTORY_SEAL
from ckpt_core.schema.text import printable
from ckpt_core.storage.writing import syscalls
from ckpt_core.training.choosing import proved
from ckpt_core.training.integrations.lightning.parts import OWN, progress_of
from ckpt_core.verbs.load import load

_log = Logger(__name__)

_INDEX = "bundle.json"


class _Found(NamedTuple):
    """A checkpoint of a run.

    `batches` are those that were done, and `attempt` counts the processes of the run.
    """

    batches: int
    run: str
    attempt: int
    place: str


def is_bundle(place: str) -> bool:
    """Return whether a directory is a bundle, and no link."""
    return not os.path.islink(place) and os.path.lexists(os.path.join(place, _INDEX))


def newest(folder: str | os.PathLike[str], *, required: bool = False) -> str | None:
    """Return the newest whole checkpoint in a folder.

    Every byte of it is proved. The path is for `fit(ckpt_path=…)`.

    Args:
        folder: The `dirpath` of a ModelCheckpoint.
        required: Whether it is an error where there is none; else that is None, and a training begins.

    Raises:
        CheckpointNotFoundError: There is none, and one is required.
        IncompleteError: There are checkpoints, and none of them is whole and of a training with `ExactResume`.
        AmbiguousRunError: There are checkpoints of two runs, or of two branches of one.
    """
    path = os.path.abspath(os.fspath(folder))
    rejected: dict[str, str] = {}
    known = sorted((one for place in _bundles(path) if (one := _read(place, rejected))), reverse=True)
    for one in known:
        try:
            proved(one.place, sealed=True)
        except CkptError as error:
            _pass_over(one.place, error, rejected)
            continue
        _refuse_branches(path, one, known)
        return one.place
    if rejected:
        reasons = "; ".join(rejected.values())
        raise IncompleteError(f"{printable(path)}: none of {len(rejected)} checkpoints can be gone on from: {reasons}")
    if required:
        raise CheckpointNotFoundError(f"{printable(path)}: no checkpoint of a BundleIO is there to go on from")
    return None


def refuse_strangers(folder: str | os.PathLike[str], run: str) -> None:
    """OverwriteError where there are checkpoints of another run in a folder."""
    for place in _bundles(os.path.abspath(os.fspath(folder))):
        found = _read(place, {})
        if found is not None and found.run != run:
            raise OverwriteError(
                f"{printable(place)}: is of another run; go on with it, fit(ckpt_path=newest(folder)), or save to "
                "another folder; nothing was saved"
            )


def _bundles(folder: str) -> list[str]:
    names = syscalls.list_names(folder) if os.path.isdir(folder) else []
    places = [os.path.join(folder, name) for name in names if not name.startswith(".")]
    return [place for place in places if is_bundle(place)]


def _read(place: str, rejected: dict[str, str]) -> _Found | None:
    """Return a checkpoint's record of itself.

    None where nothing can go on from it, or it cannot be read.
    """
    if not os.path.lexists(os.path.join(place, DIRECTORY_SEAL)):
        rejected[place] = f"{printable(place)}: it has no seal"
        return None
    try:
        own = progress_of(load(place))[OWN]
    except CkptError as error:
        _pass_over(place, error, rejected)
        return None
    if "run" not in own:
        rejected[place] = f"{printable(place)}: it was saved without ExactResume, or holds weights alone"
        return None
    return _Found(own["batches"], own["run"], own["attempt"], place)


def _pass_over(place: str, error: CkptError, rejected: dict[str, str]) -> None:
    rejected[place] = error.message
    _log.warning("%s: passed over: %s", printable(place), error.message)


def _refuse_branches(folder: str, chosen: _Found, known: list[_Found]) -> None:
    for other in known:
        names = f"{os.path.basename(chosen.place)} and {os.path.basename(other.place)}"
        if other.run != chosen.run:
            reason = f"{names} are of two runs"
        elif other.batches <= chosen.batches and other.attempt > chosen.attempt:
            reason = f"{names} are of two branches: attempt {chosen.attempt} and the later attempt {other.attempt}"
        else:
            continue
        raise AmbiguousRunError(f"{printable(folder)}: {reason}; name the one to go on from in fit(ckpt_path=…)")
