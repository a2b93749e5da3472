"""Reports of starting a model, and of saving one."""

from dataclasses import dataclass

from ckpt_core import LoadReport, SaveReport


@dataclass(frozen=True, slots=True)
class InitReport:
    """The way that a model was started.

    Attributes:
        source: Where from; None for random weights.
        load: What of the model was filled; None for random weights.
        random: Whether it keeps its random weights, as was asked for by name.
        resumed: Whether a training goes on.
        epoch: The epoch to go on in, from 0.
        step: Batches of that epoch that are done on each rank, in the present number of ranks.
        wandb_id: The run that is gone on with.
        restored: What was restored besides or with the model, by minimind's keys.
        left: What the resume file has besides, and nobody asked for.
        trace: Every place that was considered, and why.
    """

    source: str | None
    load: LoadReport | None
    random: bool = False
    resumed: bool = False
    epoch: int = 0
    step: int = 0
    wandb_id: str | None = None
    restored: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    trace: str = ""

    def summary(self) -> str:
        """Return the report in one line."""
        if self.load is None:
            return "random weights: no checkpoint was loaded"
        if not self.resumed:
            return self.load.summary()
        left = f"; left: {', '.join(self.left)}" if self.left else ""
        return (
            f"{self.load.summary()}; resumed at epoch {self.epoch}, step {self.step}: {', '.join(self.restored)}{left}"
        )


@dataclass(frozen=True, slots=True)
class SaveReports:
    """The reports of weights and resume file.

    None for what was not written.
    """

    weights: SaveReport | None = None
    resume: SaveReport | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(report.location for report in (self.weights, self.resume) if report is not None)
