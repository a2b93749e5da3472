"""The top keys of a resume file, and their components.

minimind's `trainer/trainer_utils.py`, `lm_checkpoint`: `model`, `optimizer`, `epoch`, `step`, `world_size` and
`wandb_id`, then whatever else the trainer hands over: `scaler`, or `scheduler`; of PPO's critic `critic_model`,
`critic_optimizer` and `critic_scheduler`.
"""

PROGRESS = ("epoch", "step", "world_size", "wandb_id")
"""Keys that are together the component `progress`, in the order in which minimind writes them."""

KINDS = ("model", "optimizer", "scheduler", "scaler")
"""Kinds of components that have a key each. A name goes before it: `critic_optimizer` is `optimizer:critic`."""


def component_of(key: str) -> tuple[str, str] | None:
    """Return kind and name of a key's component.

    None for a key of another form.
    """
    name, mark, kind = key.rpartition("_")
    if kind not in KINDS or (mark and not name):
        return None
    return kind, name


def key_of(kind: str, name: str) -> str:
    """Return the key of a component."""
    return f"{name}_{kind}" if name else kind
