"""LoRA as minimind has it: `W x + B (A x)` on every square linear layer, A random, B zero at first."""

import torch
from torch import Tensor, nn

RANK = 8


class LoRA(nn.Module):
    """A low-rank product beside a linear layer. Its tensors are `{module}.lora.A.weight` and `….B.weight`."""

    def __init__(self, size_in: int, size_out: int, rank: int) -> None:
        super().__init__()
        self.A = nn.Linear(size_in, rank, bias=False)
        self.B = nn.Linear(rank, size_out, bias=False)
        nn.init.normal_(self.A.weight, std=0.02)
        nn.init.zeros_(self.B.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.B(self.A(x))


def add_lora(model: nn.Module, rank: int = RANK) -> list[nn.Parameter]:
    """Put a LoRA beside each square linear layer and freeze everything else; the parameters that are left to train."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    found: list[nn.Parameter] = []
    for module in [m for m in model.modules() if isinstance(m, nn.Linear) and m.in_features == m.out_features]:
        module.lora = LoRA(module.in_features, module.out_features, rank)
        module.register_forward_hook(_add)
        found.extend(module.lora.parameters())
    return found


def base_state(model: nn.Module) -> dict[str, Tensor]:
    """A copy of every tensor that is no LoRA's."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items() if ".lora." not in name}


def unchanged(before: dict[str, Tensor], after: dict[str, Tensor]) -> bool:
    """Whether two states are equal bit for bit."""
    return before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def _add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output + module.lora(inputs[0])
