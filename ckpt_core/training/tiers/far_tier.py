"""The place that a run is uploaded to.

It says what goes there, and what stays there.
"""

from collections.abc import Mapping, Set
from functools import partial

from ckpt_core.errors import CkptError
from ckpt_core.log import Logger
from ckpt_core.schema.text import redact
from ckpt_core.training.record import Record
from ckpt_core.training.removal import Retention
from ckpt_core.training.retention import Keep
from ckpt_core.training.run import Run
from ckpt_core.training.run_folder import RunFolder
from ckpt_core.training.tiers.sealed_run import sealed_run
from ckpt_core.training.tiers.uploads import Uploads

_log = Logger(__name__)


class FarTier:
    """The uploads of a run, and the rule of their place.

    Args:
        run: The run, in a folder of this machine.
        url: Where its checkpoints are uploaded to.
        keep: The rule of the folder.
        far: The run there, and its rule; None to remove nothing there.
    """

    def __init__(self, run: RunFolder, url: str, keep: Keep | None, far: "FarRetention | None") -> None:
        self._record = Record()
        self._rule = Retention(run, keep if far is None else far.keep)
        self._far = far
        self._uploads = Uploads(run, url, done=self._uploaded)

    def go_on(self, record: Record) -> None:
        """Take up what an earlier process left; see `Uploads.go_on`."""
        self._record = record
        self._uploads.go_on(self._rule.wanted(record.history, record.step), record.run)

    def saved(self, record: Record, aliases: tuple[str, ...]) -> None:
        """Upload a checkpoint that was committed; see `Uploads.add`."""
        self._record = record
        self._uploads.add(record.step, self._rule.wanted(record.history, record.step), aliases)

    def pending(self) -> set[int]:
        """Return the steps that are not uploaded yet."""
        return self._uploads.pending()

    def wait(self) -> None:
        """Wait for the uploads; raises what they raised."""
        self._uploads.wait()

    def close(self) -> None:
        """Wait for the uploads, and end them; raises what they raised."""
        self._uploads.close()

    def _uploaded(self, step: int) -> None:
        if self._far is not None:
            self._far.apply(step, self._record, self._uploads.pending() - {step})


class FarRetention:
    """The rule of the place that a run is uploaded to.

    What stays there is read from there once by this process, and only then does anything go.

    Args:
        run: The run there.
        keep: The rule.
    """

    def __init__(self, run: Run, keep: Keep) -> None:
        self.keep = keep
        self._run = run
        self._retention = Retention(run, keep)
        self._of: dict[str, str] = {}

    def apply(self, uploaded: int, record: Record, pending: Set[int]) -> None:
        """Remove what the rule does not keep, after an upload.

        What cannot be removed is said, and tried again after the next.

        Args:
            uploaded: The step that was uploaded.
            record: The run's, as far as it is.
            pending: Steps that are still to be uploaded.
        """
        self._of.pop(self._run.place(uploaded), None)
        self._retention.changed(uploaded)
        try:
            if not self._is_something_to_go(record):
                return
            self._run.open()
            try:
                self._look(record.run)
                self._retention.apply(record.history, record.step, pending=partial(frozenset, pending))
            finally:
                self._run.close()
        except CkptError as error:
            _log.warning(
                "%s: nothing was removed (%s); the next upload tries again", redact(self._run.path), error.message
            )

    def _is_something_to_go(self, record: Record) -> bool:
        self._look(record.run)
        ours: Mapping[int, object] = record.history
        return bool((self._run.known & ours.keys()) - self._retention.kept(record.history, record.step))

    def _look(self, run: str) -> None:
        """Look for what is there of this run.

        Of others nothing is known.
        """
        self._run.look()
        self._run.known = {step for step in self._run.known if self._run_of(step) == run}

    def _run_of(self, step: int) -> str:
        place = self._run.place(step)  # of a version its own, which another run's newer one of the step has not
        if place not in self._of:
            try:
                self._of[place] = sealed_run(place)
            except CkptError:
                return ""
        return self._of[place]
