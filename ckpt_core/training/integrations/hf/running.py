"""A training of transformers' Trainer that goes on, bit for bit.

It goes on from the newest checkpoint that is proved whole.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from ckpt_core import knobs
from ckpt_core.arguments import argument
from ckpt_core.errors import LoadRefusedError, UsageError
from ckpt_core.log import Logger
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.training.choosing import NEWEST, Chosen, choose
from ckpt_core.training.integrations.hf.beside import Beside
from ckpt_core.training.integrations.hf.callback import Saved, callback_of
from ckpt_core.training.integrations.hf.data import DataSettings, keyed_loader, refuse_inexact
from ckpt_core.training.integrations.hf.saving import whole_saves
from ckpt_core.training.integrations.hf.streams import EndlessLoader, stream_of
from ckpt_core.training.integrations.hf.tracing import tracer_of
from ckpt_core.training.objects import EXTRA
from ckpt_core.training.own_state.extra import ExtraState
from ckpt_core.training.planning import rates
from ckpt_core.training.planning.rows import Rows
from ckpt_core.training.proving.trace import run_of
from ckpt_core.training.record import Record
from ckpt_core.training.run_folder import RunFolder
from ckpt_core.verbs.load_into import load_into

_log = Logger(__name__)


def run_trainer(
    trainer: Any,
    *,
    policy: str | int | os.PathLike[str] = NEWEST,
    lr: str | None = None,
    replay: bool = False,
    extra: Mapping[str, Sequence[str]] | None = None,
) -> Any:
    """Train with a Trainer of transformers.

    It goes on from the newest checkpoint of its output folder that is whole.

    Its data is drawn by keys of `data_seed` (else `seed`), so that a training that was killed goes on bit for bit; a
    stream (an iterable dataset) goes on where its own state says, and nothing is skipped. Its
    folders `checkpoint-STEP` are what the Trainer writes, and have that name once they are sealed and synced; older
    ones go, by `save_total_limit`, when a newer one is there. The states of its callbacks are restored.

    Args:
        trainer: A `transformers.Trainer`, in one process.
        policy: `newest` that is whole, or a new training where there is none; `required`; a step; or a path.
        lr: Where its learning rate is not the checkpoint's, which counts: `checkpoint` or `argument`.
        replay: Of a stream without state, ask again for the samples that were had; see `IterableLoader`.
        extra: Attributes of the model that are in no state_dict, as for a Checkpointer; saved and restored with it.

    Returns:
        What `Trainer.train` returns.

    Raises:
        UsageError: Something of the training could not be had again, or all of its steps are done.
        LoadRefusedError: The checkpoint does not fit; nothing was changed.
        IncompleteError: There are checkpoints, and none of them is whole; nothing was changed.
        AmbiguousRunError: There are checkpoints of several runs or branches; nothing was changed.
        CkptError: A checkpoint could not be read or sealed.
    """
    if lr not in (None, rates.CHECKPOINT, rates.ARGUMENT):
        raise UsageError(f"{argument('lr')}: checkpoint or argument is needed, not {lr!r}")
    refuse_inexact(trainer)
    data = DataSettings.of(trainer)
    stream = stream_of(trainer, replay=replay) if data.samples is None else None
    beside = _beside(trainer, stream, extra)
    with _proved(trainer):
        run = RunFolder(trainer.args.output_dir)
        run.open()
        try:
            wanted = policy if isinstance(policy, int) else os.fspath(policy)
            chosen: Chosen[Any] | None = choose(run, wanted, recorded=record_of)
            saved = Saved() if chosen is None else Saved.of(chosen.checkpoint)
            fill = _nothing
            if chosen is not None:
                _compare(trainer, chosen.checkpoint, saved, data, lr)
                fill = beside.filling(chosen.checkpoint)
            own = _own_rates(trainer, len(saved.rates)) if lr == rates.ARGUMENT else None
            callback = callback_of(trainer, saved, data, own, fill)
            place = None if chosen is None else os.path.abspath(chosen.checkpoint.location.url)
            with _exact(trainer, data, stream), whole_saves(trainer, run, beside), _called(trainer, callback):
                return trainer.train(resume_from_checkpoint=place)
        finally:
            run.close()


def _nothing() -> None:
    pass


def _beside(trainer: Any, stream: EndlessLoader | None, extra: Mapping[str, Sequence[str]] | None) -> Beside:
    """Return the state that the Trainer does not save itself."""
    objects: dict[str, Callable[[], Any]] = {}
    if stream is not None:
        objects["sampler"] = lambda: stream
    if trainer.model is not None and ExtraState(trainer.model, extra):
        objects[EXTRA] = lambda: ExtraState(trainer.model, extra)
    return Beside(objects)


def record_of(checkpoint: StoredCheckpoint) -> Record:
    """Return a Trainer checkpoint's record of its run.

    LoadRefusedError where `run_trainer` did not write it.
    """
    saved = Saved.of(checkpoint)
    return Record(run=saved.run, attempt=saved.attempt, step=saved.step)


def _compare(trainer: Any, checkpoint: StoredCheckpoint, saved: Saved, data: DataSettings, lr: str | None) -> None:
    """Refuse what does not fit, before anything is changed."""
    where = str(checkpoint.location)
    last = data.steps(trainer.args)
    if saved.step >= last:
        raise UsageError(f"{where}: step {saved.step} ≥ {last}: nothing would run; {_MORE}")
    if saved.stopped:
        raise UsageError(f"{where}: the training was stopped at step {saved.step}, by a callback; {_MORE}")
    data.refuse(saved.data, where)
    _refuse_architecture(trainer, checkpoint)
    rows, own = Rows(), _own_rates(trainer, len(saved.rates))
    for number, (first, second) in enumerate(zip(saved.rates, own, strict=True)):
        rates.compare_rates(rows, f"optimizer group {number}", first, second, lr)
    rows.raise_refused()
    for row in rows.rows:
        if row.differs:
            _log.warning("%s", row.sentence())


_MORE = "train for more steps or with more patience, or begin in another folder"


def _own_rates(trainer: Any, groups: int) -> list[float]:
    """Return the learning rates of the training itself.

    They are those of the optimizer that it was given, or of its arguments.
    """
    if trainer.optimizer is None:
        return [float(trainer.args.learning_rate)] * groups
    own = rates.base_rates(trainer.optimizer.param_groups)
    if len(own) != groups:
        raise LoadRefusedError(f"optimizer: {groups} groups were saved, and there are {len(own)}; nothing was changed")
    return own


def _refuse_architecture(trainer: Any, checkpoint: StoredCheckpoint) -> None:
    """Refuse an architecture whose names or shapes differ.

    LoadRefusedError; the Trainer itself warns and goes on.
    """
    if trainer.model is None or hasattr(trainer.model, "peft_config"):
        return  # made later by model_init; or only adapters are saved, under other names
    report = load_into(trainer.model, checkpoint, component="model", dry_run=True)
    tied = set(getattr(trainer.model, "all_tied_weights_keys", None) or ())
    missing = [name for name in report.missing if name not in tied]
    if missing or report.unexpected or report.mismatched:
        first = [*report.mismatched, *missing, *report.unexpected][0]
        raise LoadRefusedError(
            f"{checkpoint.location}, model: it is of another architecture: {first}, and "
            f"{len(report.mismatched) + len(missing) + len(report.unexpected) - 1} more; nothing was changed",
            report=report,
        )


@contextmanager
def _exact(trainer: Any, data: DataSettings, stream: EndlessLoader | None) -> Iterator[None]:
    """Let a Trainer draw its data exactly for a block.

    The data comes by keys, or from a stream that knows its place; callbacks are restored by ours.
    """
    original = trainer.get_train_dataloader
    trainer.get_train_dataloader = partial(_keyed, original, data) if stream is None else lambda: stream
    skips = {} if stream is None else {"ignore_data_skip": True}
    try:
        with _with_arguments(trainer, restore_callback_states_from_checkpoint=False, **skips):
            yield
    finally:
        del trainer.get_train_dataloader


def _keyed(original: Any, data: DataSettings) -> Any:
    return keyed_loader(original(), data)


@contextmanager
def _with_arguments(trainer: Any, **arguments: Any) -> Iterator[None]:
    before = {name: getattr(trainer.args, name) for name in arguments}
    for name, value in arguments.items():
        setattr(trainer.args, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(trainer.args, name, value)


@contextmanager
def _proved(trainer: Any) -> Iterator[None]:
    """Let a Trainer write to the folder of a proof.

    It writes down each step there, where its resume is being proved.
    """
    folder = knobs.prove_folder()
    if not folder:
        yield
        return
    with _with_arguments(trainer, output_dir=run_of(folder)), _called(trainer, tracer_of(trainer)):
        yield


@contextmanager
def _called(trainer: Any, callback: Any) -> Iterator[None]:
    trainer.add_callback(callback)
    try:
        yield
    finally:
        trainer.remove_callback(callback)
