"""Names and plans the weight files of one component.

The index says which tensor is in which file.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ckpt_core import (
    Component,
    FilePlan,
    Literal,
    TensorInfo,
    UnsupportedFormatError,
    UsageError,
    argument,
    option,
    printable,
)
from ckpt_hf.model.sharding import is_tied
from ckpt_hf.names import EMA


class _PlanShard(Protocol):
    def __call__(
        self, path: str, weights: Component, tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]
    ) -> FilePlan: ...


@dataclass(frozen=True, slots=True)
class Layout:
    """The names of weight files.

    `shares` says that one file can hold a tensor under several names.
    """

    stem: str
    suffix: str
    shares: bool
    plan: _PlanShard

    def shard(self, number: int, count: int) -> str:
        """Return the name of a shard, numbered from 1.

        The only one has no number.
        """
        return f"{self.stem}-{number:05d}-of-{count:05d}{self.suffix}" if count > 1 else f"{self.stem}{self.suffix}"

    @property
    def index(self) -> str:
        """The name of the index of these files.

        It lies beside a model's own.
        """
        return f"{self.stem}{self.suffix}.index.json"


def layout_of(component: Component, options: Mapping[str, Any]) -> Layout:
    """Return the layout of a model's weights or average.

    Raises:
        UsageError: No weights are of the kind that is asked for.
        UnsupportedFormatError: The average cannot be of that kind.
    """
    kind = options.get("weights", "safetensors")
    if kind not in ("safetensors", "bin"):
        raise UsageError(f"{option('weights', printable(kind, 40))}: not safetensors or bin")
    if kind == "bin" and component.kind == "ema":
        asked, other = option("weights", "bin"), argument("components", ["model"])
        raise UnsupportedFormatError(f"{asked}: an ema is only written as safetensors; choose {other}")
    if kind == "bin":
        return Layout("pytorch_model", ".bin", True, _plan_bin)
    return Layout(EMA if component.kind == "ema" else "model", ".safetensors", False, _plan_safetensors)


def plan_index(
    path: str, shards: Mapping[str, Sequence[str]], infos: Mapping[str, TensorInfo], layout: Layout
) -> FilePlan:
    """Plan the index as transformers writes it.

    A tied tensor counts once in its sums, as it is stored.
    """
    tied = {name for name, info in infos.items() if is_tied(info, infos)}
    once = [info for name, info in infos.items() if name not in tied]
    metadata = {
        "total_parameters": sum(info.numel for info in once),
        "total_size": sum(info.nbytes for info in once),
    }
    weight_map = {name: path for path, names in shards.items() for name in names if layout.shares or name not in tied}
    return FilePlan(path, (Literal(as_json({"metadata": metadata, "weight_map": weight_map})),))


def as_json(value: Any) -> bytes:
    """Return JSON as transformers writes it.

    ValueError or TypeError where the value is more than JSON holds.
    """
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def _plan_safetensors(
    path: str, weights: Component, tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]
) -> FilePlan:
    from ckpt_core.codecs import plan_safetensors

    return plan_safetensors(path, weights, tensors, metadata={**metadata, "format": "pt"})


def _plan_bin(
    path: str, weights: Component, tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]
) -> FilePlan:
    from ckpt_core.codecs import plan_torch

    names = {name: name for name in tensors}
    return plan_torch(path, [replace(weights, tensors=weights.tensors.renamed(names))])
