"""A model directory planned: shards and their index, the config, and the files that the source carried along.

A tied tensor is stored once in safetensors, under the name that comes first: transformers ties the others by the
config, and our reader finds them in the shard's metadata. An index names what is stored, so those names are not in it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ckpt_core import (
    AssetBytes,
    Checkpoint,
    Component,
    FilePlan,
    Literal,
    Manifest,
    Outline,
    Target,
    UnsupportedFormatError,
    UsageError,
    WritePlan,
    printable,
)
from ckpt_hf.opening import CONFIG, SEALS, is_weight
from ckpt_hf.sharding import DEFAULT_LIMIT, is_tied, parse_size, plan_shards

_STALE = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".distcp", ".gguf", ".h5", ".msgpack", ".onnx", ".pkl")
"""Suffixes of weights under other names and of a trainer's state: of the source, not of what is written beside them."""

_PARTS = ("model", "config")


def save_model(checkpoint: Checkpoint, target: Target) -> Manifest:
    """Write a model and its config as save_pretrained of transformers lays them out.

    Raises:
        UnsupportedFormatError: There are other components, or something that no file of the format holds.
        UsageError: An option has a value that it cannot have, or is one for reading.
    """
    layout = _layout(target.options)
    limit = parse_size(target.options.get("max_shard_size", DEFAULT_LIMIT))
    model, config = _parts(checkpoint)
    weights = _weights(checkpoint, model, config, layout, limit)
    files = [*weights, *_config(checkpoint, config), *_assets(checkpoint)]
    return target.write(WritePlan(tuple(files)), checkpoint)


class _PlanShard(Protocol):
    def __call__(
        self, path: str, model: Component, tensors: Mapping[str, Outline], metadata: Mapping[str, str]
    ) -> FilePlan: ...


@dataclass(frozen=True, slots=True)
class _Layout:
    """How weight files are named and planned, and whether one file can hold a tensor under several names."""

    stem: str
    suffix: str
    shares: bool
    plan: _PlanShard

    def shard(self, number: int, count: int) -> str:
        """The name of a shard, numbered from 1; the only one has no number."""
        return f"{self.stem}-{number:05d}-of-{count:05d}{self.suffix}" if count > 1 else f"{self.stem}{self.suffix}"

    @property
    def index(self) -> str:
        return f"{self.stem}{self.suffix}.index.json"


def _layout(options: Mapping[str, Any]) -> _Layout:
    weights = options.get("weights", "safetensors")
    if weights == "safetensors":
        return _Layout("model", ".safetensors", False, _plan_safetensors)
    if weights == "bin":
        return _Layout("pytorch_model", ".bin", True, _plan_bin)
    raise UsageError(f"--weights {printable(weights, 40)}: not safetensors or bin")


def _plan_safetensors(
    path: str, model: Component, tensors: Mapping[str, Outline], metadata: Mapping[str, str]
) -> FilePlan:
    from ckpt_core.codecs.safetensors_writer import plan_safetensors

    return plan_safetensors(path, model, tensors, metadata={**metadata, "format": "pt"})


def _plan_bin(path: str, model: Component, tensors: Mapping[str, Outline], metadata: Mapping[str, str]) -> FilePlan:
    from ckpt_core.codecs.torch_writer import plan_torch

    names = {name: name for name in tensors}
    return plan_torch(path, [replace(model, tensors=model.tensors.renamed(names))])


def _parts(checkpoint: Checkpoint) -> tuple[Component, Component | None]:
    """The model, and the config where there is one. UnsupportedFormatError where anything would be lost."""
    found = {component.label: component for component in checkpoint.manifest.components}
    if "model" not in found or not found.keys() <= set(_PARTS):
        has = ", ".join(map(printable, found)) or "none"
        raise UnsupportedFormatError(
            f"hf holds a model and its config, this checkpoint has {has}; choose with --component model"
        )
    model, config = found["model"], found.get("config")
    if model.state is not None:
        raise UnsupportedFormatError("hf holds tensors only, and this model has plain state; write it as torch")
    if config is not None and len(config.tensors):
        raise UnsupportedFormatError(
            "hf keeps a config as JSON, and this one has tensors; leave it with --component model"
        )
    return model, config


def _weights(
    checkpoint: Checkpoint, model: Component, config: Component | None, layout: _Layout, limit: int
) -> Iterator[FilePlan]:
    outlines = dict(model.tensors.outlines())
    if not layout.shares and _unties(config):
        outlines = {name: outline._replace(alias_of=None) for name, outline in outlines.items()}
    shards = plan_shards(outlines, limit)
    paths = [layout.shard(number, len(shards)) for number in range(1, len(shards) + 1)]
    metadata = {key: value for key, value in checkpoint.manifest.metadata.items() if isinstance(value, str)}
    for path, names in zip(paths, shards, strict=True):
        yield layout.plan(path, model, {name: outlines[name] for name in names}, metadata)
    if len(shards) > 1:
        yield FilePlan(layout.index, (Literal(_index(dict(zip(paths, shards, strict=True)), outlines, layout)),))


def _unties(config: Component | None) -> bool:
    """Whether the config says that nothing is tied: then transformers wants every name, and gets every one."""
    state = config.state if config is not None else None
    return isinstance(state, dict) and state.get("tie_word_embeddings") is False


def _index(shards: Mapping[str, Sequence[str]], outlines: Mapping[str, Outline], layout: _Layout) -> bytes:
    """The index as transformers writes it; in its sums a tied tensor counts once, as it is stored."""
    tied = {name for name, outline in outlines.items() if is_tied(outline, outlines)}
    once = [outline for name, outline in outlines.items() if name not in tied]
    metadata = {
        "total_parameters": sum(outline.numel for outline in once),
        "total_size": sum(outline.nbytes for outline in once),
    }
    weight_map = {name: path for path, names in shards.items() for name in names if layout.shares or name not in tied}
    return _json({"metadata": metadata, "weight_map": weight_map})


def _config(checkpoint: Checkpoint, config: Component | None) -> Iterator[FilePlan]:
    """The config's own file where the source has one, so that not a byte of it changes; else one made of its state."""
    if config is None:
        return
    for asset in checkpoint.manifest.assets:
        if asset.path == CONFIG:
            yield FilePlan(CONFIG, (AssetBytes(CONFIG, asset.size),))
            return
    try:
        text = _json(config.state)
        same = isinstance(config.state, dict) and json.loads(text) == config.state
    except (TypeError, ValueError, RecursionError):
        same = False
    if not same:
        raise UnsupportedFormatError(
            "hf keeps a config as a JSON object, and this one is more than that; leave it with --component model"
        )
    yield FilePlan(CONFIG, (Literal(text),))


def _assets(checkpoint: Checkpoint) -> Iterator[FilePlan]:
    for asset in checkpoint.manifest.assets:
        stale = is_weight(asset.path) or asset.path.lower().endswith(_STALE)
        if asset.path != CONFIG and asset.path not in SEALS and not stale:
            yield FilePlan(asset.path, (AssetBytes(asset.path, asset.size),))


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()
