"""Chooses, plans and fills in what a training goes on from.

All or nothing; a training that was left half filled is told apart for good.
"""

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ckpt_core.arguments import marked
from ckpt_core.errors import LoadInterruptedError, LoadRefusedError
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.storage.files.moments import one_moment
from ckpt_core.training.choosing import Chosen, choose, record_of
from ckpt_core.training.planning.live import Choices, Planned, planned
from ckpt_core.training.planning.plan import ResumePlan
from ckpt_core.training.ranks.team import Team
from ckpt_core.training.run import Run
from ckpt_core.training.saving.system_errors import told_by_system


class GoingOn:
    """The resumes of one training.

    Args:
        run: Where it writes.
        far: Where it is uploaded to; None where nothing can be found there.
        team: Its ranks.
        objects: What is filled, by label.
        provenance: Tells what the training runs on now.
    """

    def __init__(
        self,
        run: Run,
        far: Run | None,
        team: Team,
        objects: Mapping[str, Any],
        provenance: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._run, self._far, self._team = run, far, team
        self._objects, self._provenance = objects, provenance
        self._poison: str | None = None

    def refuse_poisoned(self) -> None:
        """Raise LoadInterruptedError where a fill broke off midway."""
        if self._poison is not None:
            raise LoadInterruptedError(
                f"a resume broke off midway ({marked(self._poison)}): what would be saved is no state of the training; "
                "start the process anew"
            )

    def plan(self, policy: str | int | os.PathLike[str], choices: Choices) -> ResumePlan:
        """Return what `fill` would do; see `Checkpointer.plan`."""
        chosen = self._chosen(policy, choices)
        if chosen is None:
            return ResumePlan()
        with one_moment(chosen.checkpoint, failures_only=True):
            return self._planned(chosen, choices).plan

    def fill(self, policy: str | int | os.PathLike[str], choices: Choices) -> Planned | None:
        """Fill every object, and return what was done; see `Checkpointer.resume`.

        None where there is nothing to go on from.
        """
        chosen = self._chosen(policy, choices)
        if chosen is None:
            return None
        with one_moment(chosen.checkpoint, failures_only=True):
            work = self._team.each("plan", partial(self._fitting, chosen, choices))
            self._fill_each(work)
        return work

    def _chosen(self, policy: str | int | os.PathLike[str], choices: Choices) -> Chosen[Planned] | None:
        choices.check()
        with told_by_system():
            self._team.each("open", self._run.open)
        wanted = policy if isinstance(policy, int) else os.fspath(policy)
        return self._team.chosen(
            lambda plan: choose(self._run, wanted, far=self._far, plan=plan), partial(self._plan, choices)
        )

    def _planned(self, chosen: Chosen[Planned], choices: Choices) -> Planned:
        return chosen.plan or self._plan(choices, chosen.checkpoint, chosen.rejected)

    def _plan(self, choices: Choices, checkpoint: StoredCheckpoint, rejected: Mapping[str, str]) -> Planned:
        return planned(
            self._objects,
            checkpoint,
            record_of(checkpoint),
            choices,
            environment=self._provenance(),
            rejected=rejected,
            team=self._team,
        )

    def _fitting(self, chosen: Chosen[Planned], choices: Choices) -> Planned:
        work = self._planned(chosen, choices)
        work.raise_refused()
        chosen.checkpoint.check_unchanged()
        return work

    def _fill_each(self, work: Planned) -> None:
        """Fill at every rank.

        What was not undone at all of them is poisoned, whatever ended it.
        """
        self._poison = "it did not end"
        try:
            self._team.each("fill", work.fill)
        except LoadRefusedError as error:
            if self._team.world > 1:
                self._poison = error.message
                raise LoadInterruptedError(
                    f"{marked(error.message)}; other ranks may be filled: start every process anew"
                ) from error
            self._poison = None
            raise
        except BaseException as error:
            self._poison = str(error) or type(error).__name__
            raise
        self._poison = None
