"""Adds the model's own files beside a training state.

They are weights or an adapter, config and tokenizer.
"""

from ckpt_core import (
    Asset,
    CkptError,
    Component,
    Files,
    Finding,
    Presence,
    Profile,
    UnreachableError,
    UnsafeContentError,
)
from ckpt_core.layouts import CheckpointBuilder
from ckpt_hf.model.checks import check_weights
from ckpt_hf.model.opening import assets_of
from ckpt_hf.names import CONFIG
from ckpt_hf.weights.adapter_names import ADAPTER_CONFIG, ADAPTERS, has_adapters
from ckpt_hf.weights.adapters import add_adapters
from ckpt_hf.weights.by_component import ComponentWeights, read_all

_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
_STATE = (".pt", ".pth", ".bin", ".pkl")
"""Ends of the names of files that hold a training state."""


def add_weights(builder: CheckpointBuilder, variant: str | None = None) -> None:
    """Add the model's weights, or the adapter's.

    A role says where there are neither, or they are broken.

    Raises:
        UnsafeContentError: They ask to run code, or an index leads out of the directory.
    """
    if has_adapters(builder.files):
        add_adapters(builder)
        return
    try:
        weights = read_all(builder.files, variant)
    except (UnsafeContentError, UnreachableError):
        raise
    except CkptError as error:
        if error.code != "HF014":
            raise
        adapter = ADAPTER_CONFIG in builder.files.entries
        kind, where = ("adapter", ADAPTERS[0]) if adapter else ("model", "model.safetensors")
        builder.role(kind, Presence.ABSENT, where, needed_for=Profile.INFERENCE)
        return
    for one in weights:
        _add(builder, one)


def _add(builder: CheckpointBuilder, one: ComponentWeights) -> None:
    kind, where = one.selection.weights.component, one.selection.weights.shown
    builder.findings += [*one.findings, *check_weights(one)]
    for error in one.weights.errors:
        if isinstance(error, UnsafeContentError):
            raise error
        builder.findings.append(Finding.of_error(error))
    if one.weights.errors:
        builder.role(kind, Presence.UNREADABLE, where, one.weights.errors[0].message, needed_for=Profile.INFERENCE)
        return
    builder.add(Component(kind, one.weights.table(), one.weights.state()), where)
    builder.torch_files += [shard.torch for shard in one.weights.shards if shard.torch is not None]


def add_config(builder: CheckpointBuilder, *, needed: bool = False) -> None:
    """Add config.json where there is one.

    An adapter needs none; a model that a script builds does not either.
    """
    kinds = {component.kind for component in builder.components}
    if CONFIG in builder.files.entries:
        builder.json_component("config", CONFIG)
    elif "adapter" not in kinds:
        builder.role("config", Presence.ABSENT, CONFIG, needed_for=Profile.INFERENCE if needed else None)


def add_tokenizer(builder: CheckpointBuilder) -> None:
    """Note the tokenizer's files, which are carried along.

    None is no lack, for not every trainer is given one.
    """
    vocabularies = [name for name in _TOKENIZERS if name in builder.files.entries]
    if vocabularies:
        builder.role("tokenizer", Presence.PRESENT, ", ".join(vocabularies))
    else:
        builder.role("tokenizer", Presence.ABSENT)


def assets_beside(files: Files) -> list[Asset]:
    """Return the files that a conversion carries along.

    They are those of a model directory, not the training state.
    """
    left_out = ("trainer_state.json", *ADAPTERS)
    return [
        asset
        for asset in assets_of(files)
        if not asset.path.endswith(_STATE) and asset.path.rpartition("/")[2] not in left_out
    ]
