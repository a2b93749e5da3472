"""The saves of a Trainer, each whole or not there.

The Trainer writes a checkpoint file by file under its final name. Here it writes it under another one; what it wrote
is sealed and synced, and is then given its name in one step. Only then do older ones go.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ckpt_core.log import Logger
from ckpt_core.schema.side_files.reserved_names import DIRECTORY_SEAL
from ckpt_core.storage.writing import syscalls
from ckpt_core.training.integrations.hf.beside import Beside
from ckpt_core.training.run_folder import RunFolder
from ckpt_core.verbs.seal import seal

_log = Logger(__name__)

_STAGE = ".ckpt-writing"


@contextmanager
def whole_saves(trainer: Any, run: RunFolder, beside: Beside) -> Iterator[None]:
    """Let a Trainer save whole checkpoints for a block.

    Older ones are removed by its `save_total_limit`.
    """
    save, limit = trainer._save_checkpoint, trainer.args.save_total_limit
    sealed = {step for step in run.steps() if os.path.lexists(os.path.join(run.place(step), DIRECTORY_SEAL))}
    stage = os.path.join(os.path.abspath(run.path), _STAGE)

    def whole(model: Any, trial: Any) -> None:
        step = trainer.state.global_step
        syscalls.remove_tree(stage)
        trainer._get_output_dir = lambda trial: stage
        _note_best(trainer.state, run)
        try:
            save(model, trial)
        finally:
            del trainer._get_output_dir
        staged = os.path.join(stage, f"checkpoint-{step}")
        beside.write(staged)
        _commit(staged, run, step)
        sealed.add(step)
        _remove_older(run, sealed, limit, trainer.state)

    trainer._save_checkpoint, trainer.args.save_total_limit = whole, None
    syscalls.remove_tree(stage)
    try:
        yield
    finally:
        del trainer._save_checkpoint
        trainer.args.save_total_limit = limit


def _note_best(state: Any, run: RunFolder) -> None:
    """Name the best checkpoint as the Trainer does.

    It looks for it where it writes.
    """
    if state.best_global_step:
        place = run.place(state.best_global_step)
        if state.best_global_step == state.global_step or os.path.isdir(place):
            state.best_model_checkpoint = place


def _commit(staged: str, run: RunFolder, step: int) -> None:
    """Seal what was written and give it its name, for good."""
    seal(staged)
    _sync_files(staged)
    if os.path.lexists(run.place(step)):
        run.remove(step)  # one that a resume passed over, or went back behind
    syscalls.rename(staged, run.place(step))
    syscalls.sync_directory(run.path)
    syscalls.remove_tree(os.path.dirname(staged))
    run.know(step)
    _log.info("saved %s", run.place(step))


def _sync_files(folder: str) -> None:
    """Make all that is in a folder outlast a loss of power."""
    for parent, _, names in os.walk(folder):
        for name in names:
            descriptor = syscalls.open_existing(os.path.join(parent, name))
            try:
                syscalls.sync(descriptor, name)
            finally:
                os.close(descriptor)
    syscalls.sync_tree(folder)


def _remove_older(run: RunFolder, sealed: set[int], limit: int | None, state: Any) -> None:
    """Remove what `save_total_limit` does not keep; the newest and the best stay."""
    if limit is None or limit <= 0:
        return
    newest = [step for step in sorted(sealed, reverse=True) if step <= state.global_step]
    best = {state.best_global_step} & sealed if state.best_model_checkpoint else set()
    kept = {newest[0], *best}
    kept |= set([step for step in newest if step not in kept][: max(limit - len(kept), 0)])
    for step in set(newest) - kept:
        run.remove(step)
        sealed.discard(step)
