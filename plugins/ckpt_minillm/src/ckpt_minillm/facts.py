"""What the names and shapes of a model's tensors tell of its configuration, which no minimind file stores.

The number of attention heads cannot be told: a projection's shape has it multiplied by the size of a head.
"""

import re
from dataclasses import dataclass

from ckpt_core import TensorTable

_EMBEDDINGS = ("embed_tokens.weight", "tok_embeddings.weight")
_LAYER = re.compile(r"(?:^|\.)layers\.([0-9]{1,6})\.")
_LORA = ".lora."


@dataclass(frozen=True, slots=True)
class Facts:
    """A model's configuration as far as it can be told; None for what cannot.

    Attributes:
        use_moe: Whether the layers have experts.
        hidden_size: The embedding's second dimension.
        num_hidden_layers: One more than the highest layer's number.
        vocab_size: The embedding's first dimension.
        lora_only: Whether every tensor is one of a LoRA (`{module}.lora.A.weight`), and the model itself is elsewhere.
    """

    use_moe: bool | None = None
    hidden_size: int | None = None
    num_hidden_layers: int | None = None
    vocab_size: int | None = None
    lora_only: bool = False

    def as_metadata(self) -> dict[str, bool | int]:
        """What is known, under the names that the trainers' flags have."""
        known = {
            "use_moe": self.use_moe,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_hidden_layers,
            "vocab_size": self.vocab_size,
        }
        return {name: value for name, value in known.items() if value is not None}


def facts_of(tensors: TensorTable) -> Facts:
    """The facts of a model's tensors, named as minimind names them."""
    if len(tensors) and all(_LORA in key for key in tensors):
        return Facts(lora_only=True)
    vocab_size, hidden_size = _embedding(tensors)
    layers = [int(found[1]) for found in map(_LAYER.search, tensors) if found]
    return Facts(_use_moe(tensors), hidden_size, max(layers) + 1 if layers else None, vocab_size)


def _embedding(tensors: TensorTable) -> tuple[int | None, int | None]:
    for key in tensors:
        if key.endswith(_EMBEDDINGS):
            shape = tensors.outline(key).shape
            if len(shape) == 2:
                return shape[0], shape[1]
    return None, None


def _use_moe(tensors: TensorTable) -> bool | None:
    # `.mlp.gate.` is the router of experts; `.mlp.gate_proj.` belongs to a dense layer.
    if any(".mlp.experts." in key or ".mlp.gate." in key for key in tensors):
        return True
    return False if any(".mlp." in key or ".feed_forward." in key for key in tensors) else None
