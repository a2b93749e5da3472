"""The tensors of a module that are filled.

They are its own, or stand for flat parameters of FSDP1.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ckpt_core.reading.torch.sharded.groups import has_fsdp1, ranks_of_module
from ckpt_core.reading.torch.sharded.parts import FlatShards
from ckpt_core.storage.ranks.ranks import ALONE, Ranks

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Targets:
    """The tensors that are filled, and the ranks that do it.

    Attributes:
        tensors: By their names in the module.
        ranks: The ranks that fill it together.
        put_back: Puts the filled tensors into the module; None where they are the module's own.
    """

    tensors: "Mapping[str, torch.Tensor | FlatShards]" = field(repr=False)
    ranks: Ranks = ALONE
    put_back: Callable[[], object] | None = None


def targets_of(module: "torch.nn.Module") -> Targets:
    """Return the tensors of a module that are filled.

    Those of FSDP1 are a copy of this rank's shares (`SHARDED_STATE_DICT`), since its flat parameters have no names.
    """
    ranks = ranks_of_module(module)
    if not has_fsdp1(module):
        return Targets(module.state_dict(keep_vars=True), ranks)
    from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict

    shares = get_model_state_dict(module)
    tensors = {
        name: FlatShards(tensor) if hasattr(tensor, "local_shards") else tensor for name, tensor in shares.items()
    }
    return Targets(tensors, ranks, lambda: set_model_state_dict(module, shares))
