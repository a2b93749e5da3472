"""Checkpoints of a local run copied to another place.

While the training goes on, and again after a stop.

One is copied at a time, by a thread. What was copied whole is noted in the run's folder, so that the next process knows
what is pending; a copy that was stopped goes on from the parts that it has. The local one stays until it is copied.
"""

from collections.abc import Callable, Iterable, Set
from threading import Condition, Thread

from ckpt_core.errors import CkptError, OverwriteError
from ckpt_core.log import Logger
from ckpt_core.schema.text import redact
from ckpt_core.storage.writing.publishing.aliases import naming_publisher
from ckpt_core.training.choosing import record_of
from ckpt_core.training.run_folder import RunFolder
from ckpt_core.training.tiers.aliases import sealed_aliases
from ckpt_core.training.tiers.noted_uploads import read_noted, state_of, write_noted
from ckpt_core.verbs.load import load
from ckpt_core.verbs.moving.copy import copy

_log = Logger(__name__)

_FAILED = "TS002"


class Uploads:
    """The uploads of a run.

    Args:
        run: The run, in a folder of this machine.
        url: Where to: `checkpoint-STEP` below it.
        done: Called in the thread with the step of each that was copied.
    """

    def __init__(self, run: RunFolder, url: str, *, done: Callable[[int], None] = lambda step: None) -> None:
        self.url = url.rstrip("/")
        self._run, self._tell = run, done
        self._pending: list[int] = []
        self._current: int | None = None
        self._done: dict[int, str] = {}
        self._aliases: dict[int, tuple[str, ...]] = {}
        self._has_versions = naming_publisher(url) is not None
        self._error: Exception | None = None
        self._ending = False
        self._changed = Condition()
        self._thread: Thread | None = None

    def place(self, step: int) -> str:
        """Return where a checkpoint is copied to."""
        return f"{self.url}/checkpoint-{step}"

    def pending(self) -> set[int]:
        """Return the steps that are not copied yet.

        None of them may be removed.
        """
        with self._changed:
            return {*self._pending, *([] if self._current is None else [self._current])}

    def go_on(self, kept: Set[int], run: str) -> None:
        """Take up the uploads that an earlier process left.

        Of the steps that a rule keeps, or that are of this run and an alias names.
        """
        self._done = read_noted(self._run.path).get(self.url, {})
        for step in self._in_order(self._run.steps()):
            if self._state_of(step) in ("", self._done.get(step)):
                continue
            aliases = sealed_aliases(self._run.place(step), run) if self._has_versions else ()
            if aliases or step in kept:
                self.add(step, kept, aliases)

    def add(self, step: int, kept: Set[int], aliases: tuple[str, ...] = ()) -> None:
        """Copy a checkpoint that was committed.

        What waits, is not kept any more and has no alias is not copied.
        """
        with self._changed:
            self._error = None
            self._aliases[step] = aliases
            waiting = {*self._pending, step}
            kept = {*kept, *(one for one in waiting if self._aliases.get(one)), step}
            for superseded in sorted(waiting - kept):
                _log.info(
                    "checkpoint-%d: is not uploaded: checkpoint-%d is newer, and no rule keeps it", superseded, step
                )
            self._pending = self._in_order(waiting & kept)
            if self._thread is None:
                self._thread = Thread(target=self._work, name="ckpt-upload", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait until nothing is pending.

        Raises what the last upload raised, if it did not succeed since.
        """
        with self._changed:
            while self._current is not None or (self._pending and self._error is None):
                self._changed.wait()
            error = self._error
        if error is not None:
            raise error

    def close(self) -> None:
        """Wait, and end the thread.

        Raises as `wait`. What was not uploaded is by the next process.
        """
        try:
            self.wait()
        finally:
            with self._changed:
                self._ending = True
                self._changed.notify_all()
            if self._thread is not None:
                self._thread.join()
                self._thread = None
            self._ending = False

    def _work(self) -> None:
        while (step := self._next()) is not None:
            error: Exception | None = None
            try:
                self._upload(step)
            except Exception as failed:  # whatever it is: a thread that ends in silence is waited for without an end
                error = failed
                reason = failed.message if isinstance(failed, CkptError) else repr(failed)
                _log.warning("%s checkpoint-%d: was not uploaded (%s); it stays here", _FAILED, step, reason)
            with self._changed:
                self._error, self._current = error, None
                if error is not None and step not in self._pending:
                    self._pending = self._in_order([*self._pending, step])
                self._changed.notify_all()

    def _next(self) -> int | None:
        """Return the step that is copied next; None at the end.

        After an error the next save begins anew.
        """
        with self._changed:
            while not self._ending and (not self._pending or self._error is not None):
                self._changed.wait()
            if self._ending:
                return None
            # The newest first: it is the one that a resume needs. But versions as they were saved, for `latest` and the
            # other aliases would end at an older one.
            self._current = self._pending.pop(0 if self._has_versions else -1)
            return self._current

    def _upload(self, step: int) -> None:
        source, place, state = self._run.place(step), self.place(step), self._state_of(step)
        try:
            copy(source, place, aliases=self._aliases.get(step, ()))
        except OverwriteError:
            if not self._is_earlier_one_of_ours(source, place):
                raise
            copy(source, place, force=True)
        self._done[step] = state
        self._write()
        _log.info("uploaded %s to %s", source, redact(place))
        self._tell(step)

    def _in_order(self, steps: Iterable[int]) -> list[int]:
        """Return steps in the order that they were saved in."""
        return sorted(steps, key=lambda step: (self._run.committed_at(step), step))

    def _is_earlier_one_of_ours(self, source: str, place: str) -> bool:
        """Return whether the copy there is an earlier one of this run.

        Such a copy is from before the run went back behind this step.
        """
        try:
            return record_of(load(place)).run == record_of(load(source)).run
        except CkptError:
            return False

    def _state_of(self, step: int) -> str:
        return state_of(self._run.place(step))

    def _write(self) -> None:
        here = set(self._run.steps())
        write_noted(self._run.path, {self.url: {step: state for step, state in self._done.items() if step in here}})
