"""Opens a training state of Accelerate's.

The models, and each file of the state as a component of its own.
"""

import re

from ckpt_core import Asset, Component, Files, FormatMatch, LoadRequest, Presence, Profile, StoredCheckpoint
from ckpt_core.layouts import CheckpointBuilder
from ckpt_hf.accelerate.detection import RNG, numbered_models
from ckpt_hf.beside_state import add_config, add_tokenizer, assets_beside
from ckpt_hf.ranks import add_ranks
from ckpt_hf.weights.single_file import add_file

_CUSTOM = re.compile(r"custom_checkpoint_(\d{1,3})\.pkl")
_NO_STEP = "Accelerate saves no step and no epoch: the program takes them from the folder's name, or counts itself"
_NO_ORDER = "the position; the order is had again from the seed of use_seedable_sampler, or where nothing is shuffled"
_NO_POSITION = "without use_stateful_dataloader the position in the data is not saved: the program skips the batches"


def read(files: Files, match: FormatMatch, request: LoadRequest) -> StoredCheckpoint:
    """Read the models and the training state's components.

    Each file of the state is one.
    """
    builder = CheckpointBuilder(files)
    if not match.parts:
        _add_models(builder)
    add_state(builder)
    add_config(builder)
    add_tokenizer(builder)
    return builder.checkpoint(match, assets=_assets(builder))


def add_state(builder: CheckpointBuilder) -> None:
    """Add all components but the models."""
    schedulers = _numbers(builder.files, "scheduler")
    _add_numbered(builder, "optimizer", max(1, len(schedulers)))
    _add_numbered(builder, "scheduler", 1)
    builder.torch_component("scaler", "scaler.pt", optional=True)
    add_ranks(builder, RNG, alone="random_states_0.pkl", pattern="random_states_{}.pkl")
    _add_sampler(builder)
    _add_custom(builder)


def _add_models(builder: CheckpointBuilder) -> None:
    models = numbered_models(builder.files.entries)
    for number in range(max(models, default=0) + 1):
        label, path = _label(number), f"model{_ending(number)}.safetensors"
        if number in models:
            add_file(builder, "model", models[number], label)
        else:
            builder.role("model", Presence.ABSENT, path, name=label, needed_for=Profile.INFERENCE)


def _numbers(files: Files, stem: str) -> list[int]:
    """Return the numbers of a kind's files.

    `optimizer.bin` is 0, `optimizer_1.bin` 1.
    """
    pattern = re.compile(rf"{stem}(?:_(\d{{1,3}}))?\.bin")
    return [int(match[1] or 0) for path in files.entries if (match := pattern.fullmatch(path))]


def _add_numbered(builder: CheckpointBuilder, kind: str, least: int) -> None:
    """Add every component of a kind, in numbers.

    A gap, or fewer than `least`, are absent.
    """
    last = max(_numbers(builder.files, kind), default=-1)
    for number in range(max(last + 1, least)):
        builder.torch_component(kind, f"{kind}{_ending(number)}.bin", name=_label(number))


def _add_sampler(builder: CheckpointBuilder) -> None:
    stateful = _numbers(builder.files, "dl_state_dict")
    for number in sorted(stateful):
        _add_position(builder, f"dl_state_dict{_ending(number)}.bin", _label(number))
    for number in sorted(_numbers(builder.files, "sampler")):
        name = f"order_{number}" if number else "order"
        builder.torch_component("sampler", f"sampler{_ending(number)}.bin", name=name)
    if 0 not in stateful:
        builder.role("sampler", Presence.ABSENT, "dl_state_dict.bin", _NO_POSITION)


def _add_position(builder: CheckpointBuilder, path: str, name: str) -> None:
    """Add a data loader's position.

    Its role says if the order of the data was saved with it.
    """

    def read() -> None:
        file = builder.torch(path)
        assert file is not None
        builder.components.append(Component("sampler", file.tensors, file.root, name))
        ordered = isinstance(file.root, dict) and file.root.get("_sampler_iter_state") is not None
        if ordered:
            builder.role("sampler", Presence.PRESENT, path, name=name)
        else:
            builder.role("sampler", Presence.DERIVED, path, _NO_ORDER, name=name)

    builder.tried("sampler", path, read, name=name)


def _add_custom(builder: CheckpointBuilder) -> None:
    """Add the objects that the program registered.

    Its own count of steps is there, where it keeps one.
    """
    numbers = [int(known[1]) for path in builder.files.entries if (known := _CUSTOM.fullmatch(path))]
    for number in range(max(numbers, default=-1) + 1):
        name = f"custom_checkpoint_{number}"
        builder.torch_component("progress", f"{name}.pkl", name=name)
    if not numbers:
        builder.role("progress", Presence.DERIVED, note=_NO_STEP)


def _label(number: int) -> str:
    return str(number) if number else ""


def _ending(number: int) -> str:
    return f"_{number}" if number else ""


def _assets(builder: CheckpointBuilder) -> list[Asset]:
    taken = {role.where for role in builder.roles}
    return [asset for asset in assets_beside(builder.files) if asset.path not in taken]
