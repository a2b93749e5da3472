"""A trainer of one's own that starts from MiniLLM weights: found by stage and size, loaded whole or not at all.

Run it anywhere; it works in a temporary folder, on the CPU, in seconds:

    python examples/locate_in_a_trainer.py
"""

import os
import tempfile

import torch
from torch import nn

import ckpt_core

HIDDEN_SIZE = 64
VOCABULARY = 128
TIMES = 20


class TinyModel(nn.Module):
    """Predicts the next token from the one before, under minimind's names."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.ModuleDict(
            {"embed_tokens": nn.Embedding(VOCABULARY, HIDDEN_SIZE), "norm": nn.LayerNorm(HIDDEN_SIZE, bias=False)}
        )
        self.lm_head = nn.Linear(HIDDEN_SIZE, VOCABULARY, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.lm_head(self.model["norm"](self.model["embed_tokens"](tokens)))


def train(model: nn.Module, tokens: torch.Tensor) -> tuple[float, float]:
    """A few steps; the loss before the first and after the last."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(TIMES + 1):
        loss = nn.functional.cross_entropy(model(tokens[:-1]), tokens[1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[0], losses[-1]


def save(model: nn.Module, path: str) -> None:
    """As minimind's trainers do: a flat dict, halved, on the CPU."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    torch.save({name: value.half().cpu() for name, value in model.state_dict().items()}, path)


def main() -> None:
    torch.manual_seed(0)
    tokens = torch.randint(VOCABULARY, (256,))

    # An earlier stage has run: fine-tuned weights lie in ./out.
    earlier = TinyModel()
    first, last = train(earlier, tokens)
    print(f"full_sft: loss {first:.3f} -> {last:.3f}")
    save(earlier, f"out/full_sft_{HIDDEN_SIZE}.pth")

    # This trainer asks for them by stage and size. MINILLM_PRETRAINED_PATH would come first, if it were set.
    pm = ckpt_core.get_plugin_manager()
    resolution = pm.hook.locate(query=ckpt_core.Query(hints={"stage": "full_sft", "hidden_size": HIDDEN_SIZE}))
    print(resolution.explain())
    location = resolution.require()

    # All parameters are filled, or the load is refused with the names that did not fit.
    model = TinyModel()
    report = ckpt_core.load_into(model, location.url)
    print(report.summary())

    first, last = train(model, tokens)
    print(f"dpo: loss {first:.3f} -> {last:.3f}")
    save(model, f"out/dpo_{HIDDEN_SIZE}.pth")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        main()
