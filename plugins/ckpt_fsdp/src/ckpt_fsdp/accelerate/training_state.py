"""Adds the training state that Accelerate keeps beside models.

Schedules, random states, positions in the data, what the program registered.

Source: accelerate `checkpointing.py` (save_accelerator_state, save_custom_state) and `accelerator.py` (load_state).
"""

from ckpt_core import Component, Presence
from ckpt_core.layouts import CheckpointBuilder
from ckpt_fsdp.accelerate.names import DirectoryContent
from ckpt_fsdp.ranks.missing import missing_of

_STATEFUL = "dl_state_dict"
_NO_STEP = "Accelerate saves no step and no epoch: the program takes them from the folder's name, or counts itself"
_NO_ORDER = "the position; the order is had again from the seed of use_seedable_sampler, or where nothing is shuffled"
_NO_POSITION = "without use_stateful_dataloader the position in the data is not saved: the program skips the batches"


def add_beside(builder: CheckpointBuilder, content: DirectoryContent) -> None:
    """Add every file beside the models as a component.

    Those that a save has and this one has not are noted as absent.
    """
    for number in range(max(content.schedulers, default=0) + 1):
        ending = f"_{number}" if number else ""
        builder.torch_component("scheduler", f"scheduler{ending}.bin", name=str(number or ""))
    builder.torch_component("scaler", "scaler.pt", optional=True)
    _add_random_states(builder, content)
    _add_samplers(builder, content)
    _add_registered(builder, content)


def _add_random_states(builder: CheckpointBuilder, content: DirectoryContent) -> None:
    """Add the random state of each rank.

    The first missing ones are named, and the rest are counted.
    """
    present = set(_numbers(content, "rng"))
    world = max(content.ranks, 1 + max(present, default=-1))
    missing = missing_of(world, present)
    for rank in sorted(present.union(missing.ranks)):
        builder.torch_component("rng", f"random_states_{rank}.pkl", name=str(rank))
    if missing.more:
        builder.role("rng", Presence.ABSENT, note=f"{missing.more} more ranks of {world}", name="others")


def _add_samplers(builder: CheckpointBuilder, content: DirectoryContent) -> None:
    stateful = False
    for kind, name, path in sorted(content.beside):
        if kind == "sampler" and path.startswith(_STATEFUL):
            stateful = stateful or not name
            _add_position(builder, path, name)
        elif kind == "sampler":
            builder.torch_component("sampler", path, name=f"order_{name}" if name else "order")
    if not stateful:
        builder.role("sampler", Presence.ABSENT, f"{_STATEFUL}.bin", _NO_POSITION)


def _add_position(builder: CheckpointBuilder, path: str, name: str) -> None:
    """Add a data loader's position.

    Its role says if the order of the data was saved with it.
    """

    def read() -> None:
        file = builder.torch(path)
        assert file is not None
        builder.components.append(Component("sampler", file.tensors, file.root, name))
        if isinstance(file.root, dict) and file.root.get("_sampler_iter_state") is not None:
            builder.role("sampler", Presence.PRESENT, path, name=name)
        else:
            builder.role("sampler", Presence.DERIVED, path, _NO_ORDER, name=name)

    builder.tried("sampler", path, read, name=name)


def _add_registered(builder: CheckpointBuilder, content: DirectoryContent) -> None:
    numbers = _numbers(content, "progress")
    for number in range(max(numbers, default=-1) + 1):
        name = f"custom_checkpoint_{number}"
        builder.torch_component("progress", f"{name}.pkl", name=name)
    if not numbers:
        builder.role("progress", Presence.DERIVED, note=_NO_STEP)


def _numbers(content: DirectoryContent, kind: str) -> list[int]:
    return [int(name.removeprefix("custom_checkpoint_")) for one, name, _ in content.beside if one == kind]
