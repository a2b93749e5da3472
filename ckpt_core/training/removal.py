"""Checkpoints that no rule keeps, removed.

Never before what is kept was read from the disk and compared with its seal.
"""

from collections.abc import Callable, Mapping, Set

from ckpt_core.errors import CkptError
from ckpt_core.log import Logger
from ckpt_core.storage.checking.sealed_files import prove_sealed
from ckpt_core.storage.listing import list_files
from ckpt_core.training.retention import Keep
from ckpt_core.training.run import Run
from ckpt_core.training.saving.thinning import make_thin

_log = Logger(__name__)

_NOT_WHOLE = "TS001"


class Retention:
    """The rule of a run, and the proved ones of its checkpoints.

    Those that this process has proved since they were committed.

    Args:
        run: Where it writes.
        keep: The rule; None to remove nothing.
    """

    def __init__(self, run: Run, keep: Keep | None) -> None:
        self._run = run
        self._keep = keep
        self._proved: set[int] = set()
        self._thin: set[int] = set()

    def committed(self, step: int) -> None:
        """Note that a checkpoint is new.

        What was proved of another one at its place does not count for it.
        """
        self.changed(step)
        if self._run.proved_by_save:
            self._proved.add(step)

    def changed(self, step: int) -> None:
        """Note that another checkpoint may be at a place.

        It is proved before it counts.
        """
        self._thin.discard(step)
        self._proved.discard(step)

    def kept(self, history: Mapping[int, Mapping[str, float]], newest: int) -> set[int]:
        """Return the steps that the rule keeps, all of them without one.

        Arguments as for `apply`.
        """
        ours = self._ours(history, newest)
        return set(ours) if self._keep is None else self._keep.kept(ours, self._run.committed_at)

    def wanted(self, history: Mapping[int, Mapping[str, float]], newest: int) -> set[int]:
        """Return the steps that the rule keeps, thin or whole.

        Arguments as for `apply`.
        """
        thin = {step for step in self._ours(history, newest) if self._keep is not None and self._keep.is_thin(step)}
        return self.kept(history, newest) | thin

    def apply(
        self, history: Mapping[int, Mapping[str, float]], newest: int, *, pending: Callable[[], Set[int]] = frozenset
    ) -> None:
        """Remove what the rule does not keep.

        What cannot be removed is said, and tried again by the next save.

        Args:
            history: The metrics of each save of this run, by its step: only what is in it is ever removed.
            newest: The step that was just committed; nothing later is touched.
            pending: Gives the steps that are needed for something else yet.
        """
        if self._keep is None:
            return
        try:
            for step in self._removable(self._ours(history, newest), self._keep):
                if step not in pending() and step not in self._run.named():
                    self._let_go(step, self._keep)
        except CkptError as error:
            _log.warning("an older checkpoint could not be removed (%s); the next save tries again", error.message)

    def _let_go(self, step: int, keep: Keep) -> None:
        if not keep.is_thin(step):
            (self._run.put_aside if keep.recoverable else self._run.remove)(step)
        elif step not in self._thin:
            make_thin(self._run.place(step))
            self._thin.add(step)

    def _ours(self, history: Mapping[int, Mapping[str, float]], newest: int) -> dict[int, Mapping[str, float]]:
        return {step: history[step] for step in self._run.known if step in history and step <= newest}

    def _removable(self, ours: dict[int, Mapping[str, float]], keep: Keep) -> list[int]:
        """Return the steps that go, once all that stays is whole.

        What is not whole counts for no rule, and stays too.
        """
        while gone := sorted(ours.keys() - keep.kept(ours, self._run.committed_at)):
            broken = [step for step in ours if step not in gone and not self._is_whole(step)]
            if not broken:
                return gone
            for step in broken:
                del ours[step]
        return []

    def _is_whole(self, step: int) -> bool:
        if step not in self._proved:
            place = self._run.place(step)
            try:
                prove_sealed(list_files(place))
            except CkptError as error:
                said = "it counts for no rule, and stands in for none that would go"
                _log.warning("%s %s: is not what was committed (%s): %s", _NOT_WHOLE, place, error.message, said)
                return False
            self._proved.add(step)
        return True
