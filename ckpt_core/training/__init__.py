"""Training that outlives its process.

State is saved whole, found again, and filled into the objects of a loop.

For loops that somebody has already: a few calls, typed, over the verbs. Torch is imported inside of functions.
Everything public is here, imported on first use.
"""

from typing import TYPE_CHECKING

from ckpt_core.lazy import lazy_names

_WHERE = {
    "Checkpointer": "ckpt_core.training.checkpointer",
    "EarlyStopping": "ckpt_core.training.own_state.early_stopping",
    "Effect": "ckpt_core.training.planning.plan",
    "ExtraState": "ckpt_core.training.own_state.extra",
    "IterableLoader": "ckpt_core.training.data.iterable_loader",
    "Keep": "ckpt_core.training.retention",
    "KeyedDataset": "ckpt_core.training.data.keyed_data",
    "KeyedLoader": "ckpt_core.training.data.keyed_loader",
    "KeyedSampler": "ckpt_core.training.data.keyed_data",
    "PlanRow": "ckpt_core.training.planning.plan",
    "Pruned": "ckpt_core.training.pruning",
    "ResumePlan": "ckpt_core.training.planning.plan",
    "Resumed": "ckpt_core.training.planning.resuming",
    "Receipt": "ckpt_core.verbs.together.staged_save",
    "Split": "ckpt_core.training.data.split",
    "StagedSave": "ckpt_core.verbs.together.staged_save",
    "load_into": "ckpt_core.training.loading",
    "model_state": "ckpt_core.training.saving.sharded_states",
    "optimizer_state": "ckpt_core.training.saving.sharded_states",
    "plan_resume": "ckpt_core.training.planning.stored",
    "prune": "ckpt_core.training.pruning",
    "purge": "ckpt_core.training.pruning",
    "seeded_split": "ckpt_core.training.data.split",
    "run_trainer": "ckpt_core.training.integrations.hf.running",
    "state_dict": "ckpt_core.training.loading",
    "torch_state": "ckpt_core.training.values",
    "undelete": "ckpt_core.training.pruning",
    "write_share": "ckpt_core.verbs.together.staged_save",
}

__all__ = sorted(_WHERE)  # noqa: PLE0605 - tests/test_public_names.py pins it

if TYPE_CHECKING:
    from ckpt_core.training.checkpointer import Checkpointer as Checkpointer
    from ckpt_core.training.data.iterable_loader import IterableLoader as IterableLoader
    from ckpt_core.training.data.keyed_data import KeyedDataset as KeyedDataset
    from ckpt_core.training.data.keyed_data import KeyedSampler as KeyedSampler
    from ckpt_core.training.data.keyed_loader import KeyedLoader as KeyedLoader
    from ckpt_core.training.data.split import Split as Split
    from ckpt_core.training.data.split import seeded_split as seeded_split
    from ckpt_core.training.integrations.hf.running import run_trainer as run_trainer
    from ckpt_core.training.loading import load_into as load_into
    from ckpt_core.training.loading import state_dict as state_dict
    from ckpt_core.training.own_state.early_stopping import EarlyStopping as EarlyStopping
    from ckpt_core.training.own_state.extra import ExtraState as ExtraState
    from ckpt_core.training.planning.plan import Effect as Effect
    from ckpt_core.training.planning.plan import PlanRow as PlanRow
    from ckpt_core.training.planning.plan import ResumePlan as ResumePlan
    from ckpt_core.training.planning.resuming import Resumed as Resumed
    from ckpt_core.training.planning.stored import plan_resume as plan_resume
    from ckpt_core.training.pruning import Pruned as Pruned
    from ckpt_core.training.pruning import prune as prune
    from ckpt_core.training.pruning import purge as purge
    from ckpt_core.training.pruning import undelete as undelete
    from ckpt_core.training.retention import Keep as Keep
    from ckpt_core.training.saving.sharded_states import model_state as model_state
    from ckpt_core.training.saving.sharded_states import optimizer_state as optimizer_state
    from ckpt_core.training.values import torch_state as torch_state
    from ckpt_core.verbs.together.staged_save import Receipt as Receipt
    from ckpt_core.verbs.together.staged_save import StagedSave as StagedSave
    from ckpt_core.verbs.together.staged_save import write_share as write_share
else:
    __getattr__, __dir__ = lazy_names(__name__, _WHERE)
