"""Plans a model directory.

It has shards and their index, the config, and the files that the source carried along.

A tied tensor is stored once in safetensors, under the name that comes first: transformers ties the others by the
config, and our reader finds them in the shard's metadata. An index names what is stored, so those names are not in it.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ckpt_core import (
    AssetBytes,
    Checkpoint,
    Component,
    FilePlan,
    Literal,
    Manifest,
    State,
    Target,
    UnsupportedFormatError,
    UsageError,
    WritePlan,
    argument,
    printable,
)
from ckpt_core.codecs import metadata_of, plain_state
from ckpt_hf.bagel import COMPANIONS
from ckpt_hf.model.config_types import TYPES, edited, plain_outlines, said_type, type_of, with_type
from ckpt_hf.model.layouts import Layout, as_json, layout_of, plan_index
from ckpt_hf.model.opening import SEALS, is_weight
from ckpt_hf.model.sharding import DEFAULT_LIMIT, parse_size, plan_shards
from ckpt_hf.names import CONFIG

_STALE = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".distcp", ".gguf", ".h5", ".msgpack", ".onnx", ".pkl")
"""Suffixes of weights under other names and of a trainer's state: of the source, not of what is written beside them."""

_WEIGHTS = ("model", "ema")
_CONFIG = "config"


def write(checkpoint: Checkpoint, target: Target) -> Manifest:
    """Write a model directory as save_pretrained of transformers does.

    It has a model, its average or both, and the config.

    Raises:
        UnsupportedFormatError: There are no weights, or something that no file of the format holds.
        UsageError: There are other components, or an option has a value that it cannot have.
    """
    weights, config = _parts(checkpoint)
    return target.write(plan_model(checkpoint, weights, config, target.options), checkpoint)


def plan_model(
    checkpoint: Checkpoint, weights: list[Component], config: Component | None, options: Mapping[str, Any]
) -> WritePlan:
    """Plan the files of a model directory.

    Weights with their index, config, and what is carried along.

    Raises:
        UnsupportedFormatError: The config is more than JSON holds.
        UsageError: An option has a value that it cannot have.
    """
    limit = parse_size(options.get("max_shard_size", DEFAULT_LIMIT))
    layouts = [layout_of(component, options) for component in weights]
    files: list[FilePlan] = []
    for component, layout in zip(weights, layouts, strict=True):
        # One index has the name that loaders look for: the model's, or where there is none the average's.
        first = component is weights[0]
        index = layout.index if not first or layout.stem != "ema" else f"model{layout.suffix}.index.json"
        keep = first and "index" in checkpoint.manifest.metadata
        files += _weights(checkpoint, component, config, layout, limit, index, keep)
    restated = _restated(checkpoint, weights[0], config)
    files += [*_config(checkpoint, config, restated), *_assets(checkpoint)]
    return WritePlan(tuple(files), {} if restated is None else {_CONFIG: restated})


def _parts(checkpoint: Checkpoint) -> tuple[list[Component], Component | None]:
    """Return the model and its average, and the config.

    An error where anything would be lost.
    """
    by_label = {component.label: component for component in checkpoint.manifest.components}
    weights = [by_label[label] for label in _WEIGHTS if label in by_label]
    if not weights or not by_label.keys() <= {*_WEIGHTS, _CONFIG}:
        has = ", ".join(map(printable, by_label)) or "none"
        reason = f"hf holds a model, its ema and its config, this checkpoint has {has}"
        if not weights:
            raise UnsupportedFormatError(f"{reason}; write it as torch")
        raise UsageError(f"{reason}; choose with {argument('components', [weights[0].label])}")
    for component in weights:
        if component.state is not None:
            raise plain_state(component, "hf")
    config = by_label.get(_CONFIG)
    if config is not None and len(config.tensors):
        raise UnsupportedFormatError(
            f"hf keeps a config as JSON, and this one has tensors; leave it with {argument('components', ['model'])}"
        )
    return weights, config


def _weights(
    checkpoint: Checkpoint,
    component: Component,
    config: Component | None,
    layout: Layout,
    limit: int,
    index: str,
    keep: bool,
) -> Iterator[FilePlan]:
    """Yield the files of one component.

    Several files get an index; so does one file with `keep`, since the source had one.
    """
    infos = dict(component.tensors.infos())
    if not layout.shares and _unties(config):
        infos = {name: info._replace(alias_of=None) for name, info in infos.items()}
    shards = plan_shards(infos, limit)
    paths = [layout.shard(number, len(shards)) for number in range(1, len(shards) + 1)]
    metadata = metadata_of(checkpoint)
    for path, names in zip(paths, shards, strict=True):
        yield layout.plan(path, component, {name: infos[name] for name in names}, metadata)
    if len(shards) > 1 or keep:
        yield plan_index(index, dict(zip(paths, shards, strict=True)), infos, layout)


def _unties(config: Component | None) -> bool:
    """Return True if the config says that nothing is tied.

    Then transformers wants every name, and gets every one.
    """
    state = config.state if config is not None else None
    return isinstance(state, dict) and state.get("tie_word_embeddings") is False


def _restated(checkpoint: Checkpoint, weights: Component, config: Component | None) -> dict[Any, State] | None:
    """Return the config with the type of cast weights.

    The result is None unless the config names a type that none of them has any more.
    """
    state = config.state if config is not None else None
    said = said_type(state)
    if said is None or not isinstance(state, dict):
        return None
    infos = plain_outlines(weights)
    types = {info.dtype for info in infos.values()}
    cast = any(checkpoint.origin(weights.label, name).dtype is not o.dtype for name, o in infos.items())
    dtype = type_of(infos.values())
    return with_type(state, dtype) if cast and dtype is not None and TYPES[said] not in types else None


def _config(checkpoint: Checkpoint, config: Component | None, restated: dict[Any, State] | None) -> Iterator[FilePlan]:
    """Yield the plan of config.json.

    It is the source's own file, changed in nothing but what is restated; where it has none, one made of the state.
    """
    if config is None:
        return
    state = config.state if restated is None else restated
    for asset in checkpoint.manifest.assets:
        if asset.path == CONFIG:
            kept = AssetBytes(CONFIG, asset.size) if restated is None else _rewritten(checkpoint, restated)
            yield FilePlan(CONFIG, (kept,))
            return
    try:
        text = as_json(state)
        same = isinstance(state, dict) and json.loads(text) == state
    except (TypeError, ValueError, RecursionError):
        same = False
    if not same:
        raise UnsupportedFormatError(
            "hf keeps a config as a JSON object, and this one is more than that; "
            f"leave it with {argument('components', ['model'])}"
        )
    yield FilePlan(CONFIG, (Literal(text),))


def _rewritten(checkpoint: Checkpoint, restated: dict[Any, State]) -> Literal:
    """Return the source's config with another type.

    Written anew where it is not plain where that stands.
    """
    text = edited(checkpoint.asset_files().read(CONFIG), restated)
    return Literal(as_json(restated) if text is None else text)


def _assets(checkpoint: Checkpoint) -> Iterator[FilePlan]:
    for asset in checkpoint.manifest.assets:
        stale = is_weight(asset.path) or asset.path.lower().endswith(_STALE)
        carried = not stale or asset.path in COMPANIONS
        if asset.path != CONFIG and asset.path not in SEALS and carried:
            yield FilePlan(asset.path, (AssetBytes(asset.path, asset.size),))
