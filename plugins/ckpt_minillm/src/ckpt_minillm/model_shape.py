"""Derives a model's configuration from its tensors.

Their names and shapes tell it, and no minimind file stores it. The number of attention heads cannot be told: a
projection's shape has it multiplied by the size of a head.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ckpt_core import TensorTable

if TYPE_CHECKING:
    import torch

_EMBEDDINGS = ("embed_tokens.weight", "tok_embeddings.weight")
_LAYER = re.compile(r"(?:^|\.)layers\.([0-9]{1,6})\.")
_LORA = ".lora."

_Shape = Callable[[str], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Facts:
    """A model's configuration as its tensors tell it.

    None for what they do not tell.

    Attributes:
        use_moe: Whether the layers have experts.
        hidden_size: The embedding's second dimension.
        num_hidden_layers: One more than the highest layer's number.
        vocab_size: The embedding's first dimension.
        lora_rank: Rows of a LoRA's first matrix, where there is one, alone or in a model.
        lora_only: Whether every tensor is one of a LoRA (`{module}.lora.A.weight`), and the model itself is elsewhere.
    """

    use_moe: bool | None = None
    hidden_size: int | None = None
    num_hidden_layers: int | None = None
    vocab_size: int | None = None
    lora_rank: int | None = None
    lora_only: bool = False

    def as_metadata(self) -> dict[str, bool | int]:
        """Return what is known, under the trainers' flag names."""
        known = {
            "use_moe": self.use_moe,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_hidden_layers,
            "vocab_size": self.vocab_size,
            "lora_rank": self.lora_rank,
        }
        return {name: value for name, value in known.items() if value is not None}


def facts_of(tensors: TensorTable) -> Facts:
    """Return the facts of tensors with minimind's names."""
    return _facts(tensors, lambda name: tensors.info(name).shape)


def facts_of_module(module: "torch.nn.Module") -> Facts:
    """Return the facts of a model in memory."""
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict(keep_vars=True).items()}
    return _facts(shapes, shapes.__getitem__)


def contradictions(facts: Facts, asked: Mapping[str, object]) -> Iterator[str]:
    """Yield in words each fact that contradicts the request.

    Args:
        facts: Of the tensors.
        asked: What was asked for, by the names of `Facts`; None and what the tensors do not tell contradict nothing.
    """
    for name, words in (("hidden_size", "hidden size {}"), ("num_hidden_layers", "{} layers")):
        known, wanted = getattr(facts, name), asked.get(name)
        if known is not None and wanted is not None and known != wanted:
            yield f"{words.format(known)}, not {wanted}"
    wanted = asked.get("use_moe")
    if facts.use_moe is not None and wanted is not None and facts.use_moe != wanted:
        yield "experts, not a dense model" if facts.use_moe else "a dense model, not experts"


def experts(used: bool) -> str:
    return "experts" if used else "no experts"


def is_lora(name: str) -> bool:
    """Return True if a tensor's name is a LoRA's."""
    return _LORA in name


def layers_of(names: Iterable[str]) -> set[int]:
    """Return the numbers of layers in tensor names."""
    return {int(match[1]) for match in map(_LAYER.search, names) if match}


def _facts(names: Collection[str], shape: _Shape) -> Facts:
    lora = next((name for name in names if name.endswith(".lora.A.weight")), None)
    rank = shape(lora)[0] if lora is not None and len(shape(lora)) == 2 else None
    if names and all(map(is_lora, names)):
        return Facts(lora_rank=rank, lora_only=True)
    vocab_size, hidden_size = _embedding(names, shape)
    layers = layers_of(names)
    return Facts(_use_moe(names), hidden_size, max(layers) + 1 if layers else None, vocab_size, rank)


def _embedding(names: Iterable[str], shape: _Shape) -> tuple[int | None, int | None]:
    for name in names:
        if name.endswith(_EMBEDDINGS):
            sizes = shape(name)
            if len(sizes) == 2:
                return sizes[0], sizes[1]
    return None, None


def _use_moe(names: Collection[str]) -> bool | None:
    # `.mlp.gate.` is the router of experts; `.mlp.gate_proj.` belongs to a dense layer.
    if any(".mlp.experts." in name or ".mlp.gate." in name for name in names):
        return True
    return False if any(".mlp." in name or ".feed_forward." in name for name in names) else None
