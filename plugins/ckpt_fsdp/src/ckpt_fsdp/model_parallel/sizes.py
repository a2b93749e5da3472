"""Reads the sizes of parallelism from a saved state.

How many ranks of each kind there were.
"""

from collections.abc import Mapping
from typing import NamedTuple

from ckpt_core import Opaque, State

KEYS = {
    "tensor": ("tensor_model_parallel_size", "model_parallel_size", "tensor_parallel_size", "mp_size", "tp_size"),
    "pipeline": ("pipeline_model_parallel_size", "pipeline_parallel_size", "pp_size"),
    "expert": ("expert_model_parallel_size", "expert_parallel_size", "ep_size"),
}
"""Keys under which programs keep the sizes: Megatron-LM's arguments and those of its forks, loaders of LLaMA's kind."""

RANKS = ("mp_rank", "tp_rank", "tensor_model_parallel_rank", "model_parallel_rank", "rank")
"""Keys under which a state says whose it is."""

_HOLDERS = ("args", "config", "hyper_parameters", "hparams")


class Sizes(NamedTuple):
    """Ranks of tensor, pipeline and expert parallelism.

    1 where a state says nothing.
    """

    tensor: int = 1
    pipeline: int = 1
    expert: int = 1

    @property
    def shown(self) -> str:
        """The sizes in words: `tensor 2 x pipeline 2`."""
        named = zip(KEYS, self, strict=True)
        return " x ".join(f"{kind} {size}" for kind, size in named if size > 1) or "1 rank"


def sizes_of(root: State) -> Sizes | None:
    """Return the sizes that a saved state says.

    None where it says none.
    """
    places = [_fields(root), *(_fields(_fields(root).get(key)) for key in _HOLDERS)]
    sizes = {kind: _first(places, keys) for kind, keys in KEYS.items()}
    if all(size is None for size in sizes.values()):
        return None
    return Sizes(*(size or 1 for size in sizes.values()))


def _fields(value: State) -> Mapping[str, State]:
    state = value.state if isinstance(value, Opaque) else value
    return state if isinstance(state, dict) else {}


def _first(places: list[Mapping[str, State]], keys: tuple[str, ...]) -> int | None:
    for place in places:
        for key in keys:
            size = place.get(key)
            if type(size) is int and size > 0:
                return size
    return None
