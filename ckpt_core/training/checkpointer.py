"""Saves of a training that cannot lose one, exactly resumed.

A few calls in a loop that somebody has.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from functools import partial
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ckpt_core.arguments import argument
from ckpt_core.codecs.gc_pause import without_collection
from ckpt_core.errors import CkptError, UsageError
from ckpt_core.layouts.in_memory import LiveCheckpoint, checkpoint_of_parts
from ckpt_core.layouts.joined import pieces_of
from ckpt_core.log import Logger
from ckpt_core.schema.text import printable
from ckpt_core.training.choosing import NEWEST
from ckpt_core.training.filling import HasState
from ckpt_core.training.objects import EXTRA, TrainingParts, labelled
from ckpt_core.training.own_state.extra import ExtraState
from ckpt_core.training.own_state.history import History
from ckpt_core.training.planning.going_on import GoingOn
from ckpt_core.training.planning.live import Choices
from ckpt_core.training.planning.plan import ResumePlan
from ckpt_core.training.planning.provenance import provenance_of
from ckpt_core.training.planning.resuming import Resumed
from ckpt_core.training.preemption import Preemption
from ckpt_core.training.proving.trace import trace_of
from ckpt_core.training.ranks.team import Begin, team_of_process
from ckpt_core.training.record import Record, environment, numbers
from ckpt_core.training.removal import Retention
from ckpt_core.training.retention import Keep
from ckpt_core.training.runs import open_any_run, open_far_run, open_run
from ckpt_core.training.saving.arguments import aliases_for, interval, one_of, tell_of_a_strange
from ckpt_core.training.saving.background import HostBuffers, InBackground
from ckpt_core.training.saving.files_beside import SavesFiles, files_of
from ckpt_core.training.saving.finite import refuse_not_finite
from ckpt_core.training.saving.formats import directory_format, refuse_unheld
from ckpt_core.training.saving.sharded_states import checked_options
from ckpt_core.training.saving.step_counts import StepCounts
from ckpt_core.training.saving.system_errors import said_by_system, told_by_system
from ckpt_core.training.tiers.aliases import sealed_aliases, sealed_with
from ckpt_core.training.tiers.arguments import far_tier, refuse_undoable, rule_of
from ckpt_core.verbs.save import SaveReport, save

if TYPE_CHECKING:
    import torch
    from torch.distributed.checkpoint.state_dict import StateDictOptions

_log = Logger(__name__)

_SAME = "TR002"


class Checkpointer:
    """The checkpoints of one training run, in a folder or a store.

    Each is `checkpoint-STEP`, whole or not there.

    Args:
        run: The folder, on a local disk or mount that can rename, or the URL of a store: `s3://`, `gs://`.
        model: A module; one in DistributedDataParallel or `torch.compile` is saved under its own names.
        optimizer: An optimizer.
        scheduler: A schedule of learning rates.
        scaler: A scaler of losses.
        ema: An average of the weights: a module, or what has state.
        loader: What gives the data, and knows where it is: a `KeyedLoader`, or an `IterableLoader`.
        save_every: Steps, or the time, between the saves of `after_step`; None to save only when `save` is called.
        keep: Which checkpoints stay when a newer one is committed: so many of the last, or a `Keep`; None for all.
        finite: `refuse` to save weights that are NaN or infinite, or `ignore` it.
        inexact: `refuse` a loader of which it is not known that its samples are the same again (one that has state, and
            is neither a `KeyedLoader` nor an `IterableLoader`), or `warn` of it.
        background: Write in a thread, from a copy of the state: the loop is held up for the copy alone. One save is in
            flight; what it raises is raised by the next call of `after_step`, `save`, `wait` or `close`.
        upload_to: A URL or path that each checkpoint is copied to in the background, whole or not at all: `s3://`,
            `gs://`, `wandb://`, another disk. What a newer one supersedes, and no rule keeps, is not copied any more;
            what is pending is not removed, and is copied by the next process. `resume` looks there too.
        keep_far: Which checkpoints stay there, as `keep` says it of the folder; None for all. What its rule does not
            keep, and no alias names, is not uploaded where a newer one is there before it.
        format: Name of a format that holds all parts of a training: `bundle`; `dcp` of ckpt-fsdp; of ckpt-hf
            `training-state`, a model directory with the rest in `training_state.pt`, or `hf`, the same of a model with
            a config, which `from_pretrained` opens. `resume` reads any.
        processing_class: What prepares the model's inputs, a tokenizer or a processor: its files, as it is now, are
            written beside each model, for the formats that are model directories.
        preemption: Within `with`, take SIGTERM and SIGUSR1: `after_step` then saves and ends the process with exit code
            143 or 138. A second signal ends it at once.
        state_dict_options: How the states of modules and optimizers are held while they are saved, by FSDP's options;
            None for as they are, each rank its share, copied only where it is on a device or `background` is set.
            `cpu_offload` copies each rank's share to host memory first. `full_state_dict` gathers all: with
            `cpu_offload` rank 0 holds all of the model, the averages and the moments in host memory and writes them;
            without it every rank holds all of it on its device. `flatten_optimizer_state_dict` keeps moments and
            settings by the names of parameters.
        arguments: Plain values to record: what the training was called with.
        extra: Attributes of the model that are in no state_dict, by the path of the object that has them:
            `{"router": ["maturity"]}`; see `ExtraState`.
        others: Anything else that has state, by the name it is saved under.

    Raises:
        UsageError: Something has no state that could be saved, or an argument is not what it may be.
    """

    def __init__(
        self,
        run: str | os.PathLike[str],
        *,
        model: "torch.nn.Module",
        optimizer: "torch.optim.Optimizer | None" = None,
        scheduler: HasState | None = None,
        scaler: HasState | None = None,
        ema: HasState | None = None,
        loader: HasState | None = None,
        save_every: int | timedelta | None = None,
        keep: int | Keep | None = None,
        finite: str = "refuse",
        inexact: str = "refuse",
        background: bool = False,
        upload_to: str | None = None,
        keep_far: int | Keep | None = None,
        format: str = "bundle",
        processing_class: SavesFiles | None = None,
        preemption: bool = False,
        state_dict_options: "StateDictOptions | None" = None,
        arguments: Mapping[str, Any] | None = None,
        extra: Mapping[str, Sequence[str]] | None = None,
        **others: HasState,
    ) -> None:
        named = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "scaler": scaler, "ema": ema}
        self._objects = labelled({**named, "sampler": loader}, others)
        if attributes := ExtraState(model, extra):
            self._objects[EXTRA] = attributes
        self._upload_to = upload_to
        self._trace = trace_of(self._objects)
        if self._trace is not None:
            run, upload_to, keep_far = self._trace.run, None, None
        self._team = team_of_process()
        opened, keep = open_run(os.fspath(run)), rule_of(keep)
        refuse_undoable(opened, keep, "keep")
        self._run = self._team.run(opened)
        self._far = None if upload_to is None else open_far_run(upload_to)
        tier = far_tier(opened, upload_to, keep, rule_of(keep_far), open_any_run)
        self._tier = tier if self._team.leads else None
        self._team.refuse(format, loader)
        self._format = directory_format(format, self._objects["model"])
        self._beside = files_of(processing_class, self._format)
        self._every = interval(save_every)
        self._retention = Retention(self._run, keep)
        self._finite = one_of("finite", finite, "refuse", "ignore")
        self._record = Record()
        self._history = History()
        self._environment = {**environment(arguments), "world_size": self._team.world}
        provenance = partial(provenance_of, self._environment, self._objects.get("sampler"))
        options = checked_options(state_dict_options)
        self._parts = TrainingParts(self._objects, self._history, self._team, provenance, options)
        self._going_on = GoingOn(self._run, self._far, self._team, self._objects, provenance)
        self._last_save = monotonic()
        self._saved: int | None = None
        self._buffers = HostBuffers() if background else None
        self._writing: InBackground[SaveReport] = InBackground()
        self._weights: tuple[int, str] | None = None
        self._steps = StepCounts(self._objects.get("optimizer"), may_skip=scaler is not None)
        self._preemption = Preemption() if preemption else None
        self._listening = ExitStack()
        tell_of_a_strange(loader, refuse=one_of("inexact", inexact, "refuse", "warn") == "refuse")
        refuse_unheld(self._format, partial(self._parts.of, self._record, self._format))

    def __enter__(self) -> "Checkpointer":
        with told_by_system():
            self._team.each("open", self._run.open)
        if self._preemption is not None:
            self._listening.enter_context(self._preemption.listening())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except CkptError as late:
            if error is None:
                raise
            _log.warning("the save in the background failed: %s", late.message)

    def close(self) -> None:
        """Wait for a save and for uploads, and release the folder.

        Another process may train there then. Raises what they raise.
        """
        try:
            try:
                self.wait()
            finally:
                if self._tier is not None:
                    self._tier.close()
                    self._retention.apply(self._record.history, self._record.step)
        finally:
            self._listening.close()
            self._run.close()

    def wait(self) -> SaveReport | None:
        """Wait for the save that is under way.

        Returns its report, None where none is. Raises what that save raised.
        """
        return self._writing.wait()

    def after_step(self, step: int, *, metrics: Mapping[str, Any] | None = None) -> SaveReport | None:
        """Save where one is due after a step of the optimizer.

        Returns None where none is.

        Raises as `save`, and SystemExit where a signal has asked the training to end, when all is saved.
        """
        if self._team.world == 1:  # of several ranks all learn of it at the same call
            self._writing.check()
        self._history.add(step, metrics)
        self._traced(step, metrics)
        if self._preemption is not None and self._team.is_to_end(step, self._preemption):
            self.wait()
            if self._saved != step:
                self.save(step, metrics=metrics)
                self.wait()
            raise SystemExit(self._preemption.exit_code)
        every = self._every
        if isinstance(every, timedelta):
            due = self._team.is_due(step, monotonic() - self._last_save >= every.total_seconds())
        else:
            due = every is not None and step % every == 0
        return self.save(step, metrics=metrics) if due else None

    def save(
        self, step: int, *, metrics: Mapping[str, Any] | None = None, aliases: str | Iterable[str] = ()
    ) -> SaveReport | None:
        """Save everything after a step of the optimizer.

        Args:
            step: Steps of the optimizer that are done.
            metrics: Numbers to save with it.
            aliases: Names that are to mean it where it is uploaded to (`best`), with `wandb://`. It is uploaded then,
                whatever is saved meanwhile.

        Returns:
            The report: what was saved outlasts a loss of power. None where it is written in the background.

        Raises:
            UsageError: The step is no step, a metric no number, or the place has no such aliases.
            CorruptError: A weight is not finite (TR001), or what was written is not what was saved.
            OverwriteError: Somebody else's checkpoint is there.
            LockedError: Another process trains in the folder.
            BudgetError: The disk is full.
            CkptError: It could not be written.

        Whatever is raised, the checkpoints that were there are there, and the call can be made again.
        """
        self._going_on.refuse_poisoned()
        if type(step) is not int or step < 0:
            raise UsageError(f"{argument('step')}: a number of steps is needed, not {step!r}")
        checked, named = numbers(metrics), aliases_for(self._upload_to, aliases)
        self._history.add(step, checked)
        self._traced(step, checked)
        self.wait()
        began = monotonic()
        self._steps.compare(step)
        record = self._after(step, checked)
        with told_by_system():
            begin = self._team.saving(self._run, record)
        with without_collection():
            live = self._team.own_part(checkpoint_of_parts(self._parts.of(record, self._format), self._beside))
            self._last_save = began
            if self._buffers is None:
                return self._commit(step, live, begin, named)
            live = self._buffers.copied(live)
        self._writing.start(partial(self._commit, step, live, begin, named))
        _log.info("step %d: the loop was held up for %.3f s", step, monotonic() - began)
        return None

    def _commit(self, step: int, live: LiveCheckpoint, begin: Begin, aliases: tuple[str, ...]) -> SaveReport:
        """Write a checkpoint, name it, and then remove what no rule keeps."""
        place, is_new = self._run.place(step), False
        try:
            with told_by_system(), begin() as (ranks, record, replaces):
                if replaces and self._record.step == step:  # saved once more: what it was named stays
                    aliases = tuple(dict.fromkeys((*sealed_aliases(place, record.run), *aliases)))
                is_new, run = not replaces, {"run": record.run, **sealed_with(aliases)}
                if self._finite == "refuse":
                    refuse_not_finite(pieces_of(live) if live.is_spread else live, step)
                report = save(live, place, format=self._format, force=replaces, provenance=run, ranks=ranks)
        except CkptError as error:
            if is_new and self._run.is_there(step):
                told = f"{printable(place)}: has its name, and may not outlast a loss of power{said_by_system(error)}"
                raise type(error)(f"{told}; call save again", code=error.code) from error
            raise
        finally:
            self._run.know(step)
        self._record, self._saved = record, step
        if self._trace is not None:
            self._trace.saved(step)
        self._compare_weights(step, report.components.get("model"))
        _log.info("saved %s: %d tensors, %d bytes", report.location, report.tensors, report.nbytes)
        self._retention.committed(step)
        if self._tier is not None:
            self._tier.saved(record, aliases)
        self._retention.apply(record.history, step, pending=self._pending)
        return report

    def _traced(self, step: int, metrics: Mapping[str, Any] | None) -> None:
        if self._trace is not None:
            self._trace.after_step(step, numbers(metrics))

    def _pending(self) -> set[int]:
        return set() if self._tier is None else self._tier.pending()

    def _compare_weights(self, step: int, digest: str | None) -> None:
        """Say TR002 where the weights of another step are the same.

        The optimizer is of other parameters, say.
        """
        if digest is None:  # spread over ranks: nobody has seen all of them
            return
        if self._weights is not None and self._weights[1] == digest and self._weights[0] != step:
            _log.warning("%s step %d: the weights are those of step %d, to the bit", _SAME, step, self._weights[0])
        self._weights = (step, digest)

    def resume(
        self,
        policy: str | int | os.PathLike[str] = NEWEST,
        *,
        lr: str | None = None,
        max_steps: int | None = None,
        data: str | None = None,
    ) -> Resumed:
        """Go on from a checkpoint.

        Every byte is proved first, and then every object is filled in place.

        Args:
            policy: `newest` of the run that is whole, or nothing where there is none; `required`, the same and an error
                where there is none; a step of the run; or the path of any checkpoint that a Checkpointer wrote.
            lr: Where the optimizer's learning rate is not the checkpoint's, which counts: `checkpoint` or `argument`.
            max_steps: Steps after which the training ends: it is an error where all of them are done.
            data: `argument` to begin the data that is given, in the epoch of the checkpoint, where it is other data on
                purpose; None to go on in those of the checkpoint.

        Raises:
            LoadRefusedError: It does not fit: another architecture, other data, another class of schedule, another
                learning rate and no word on which counts; nothing was changed.
            IncompleteError: There are checkpoints, and none of them is whole; nothing was changed.
            AmbiguousRunError: There are checkpoints of several runs or branches; nothing was changed.
            LoadInterruptedError: It failed after something had been changed, or at one of several ranks while the
                others were being filled. Nothing can be saved then.
            CkptError: It cannot be read; nothing was changed.
        """
        self._going_on.refuse_poisoned()
        self.wait()
        work = self._going_on.fill(policy, Choices(lr, max_steps, data))
        if work is None:
            return Resumed()
        self._record = replace(work.record, attempt=work.record.attempt + 1)
        self._history.load_state_dict(work.history)
        self._steps.begin(self._record.step)
        if self._tier is not None:
            self._tier.go_on(self._record)
        resumed = work.resumed()
        if self._trace is not None:
            self._trace.resumed(resumed.step)
        _log.info("%s", resumed.summary())
        return resumed

    def plan(
        self,
        policy: str | int | os.PathLike[str] = NEWEST,
        *,
        lr: str | None = None,
        max_steps: int | None = None,
        data: str | None = None,
    ) -> ResumePlan:
        """Return what `resume` would do with the same arguments; nothing is changed.

        What it would refuse is a row here; print `plan(...).table()`.

        Raises:
            CkptError: As `resume`, where no checkpoint can be chosen or read.
        """
        self._going_on.refuse_poisoned()
        self.wait()
        return self._going_on.plan(policy, Choices(lr, max_steps, data))

    def _after(self, step: int, metrics: Mapping[str, float]) -> Record:
        last = self._record
        if last.step == step and step in self._run.known:
            return last.after(step, self._parts.epoch, metrics, last.parent)
        gone_on = last.step in self._run.known or last.attempt > 1  # from where it is uploaded to, or another folder
        parent = f"checkpoint-{last.step}" if gone_on else None
        return last.after(step, self._parts.epoch, metrics, parent)
