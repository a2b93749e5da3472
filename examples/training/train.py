"""A small language model in a loop of one's own that survives being killed: run it again and it goes on, bit for bit.

python train.py --run ./run --steps 60
"""

import argparse

import torch
from torch import nn

from ckpt_core.training import Checkpointer, Keep, KeyedLoader

TEXT = "the quick brown fox jumps over the lazy dog; " * 8
LETTERS = sorted(set(TEXT))
WINDOW = 12


class Windows(torch.utils.data.Dataset):
    """Pieces of the text as numbers of letters, some of them replaced at random."""

    def __len__(self) -> int:
        return len(TEXT) - WINDOW

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        letters = torch.tensor([LETTERS.index(letter) for letter in TEXT[index : index + WINDOW + 1]])
        noise = torch.rand(WINDOW) < 0.05
        return torch.where(noise, torch.randint(len(LETTERS), (WINDOW,)), letters[:-1]), letters[1:]


class Letters(nn.Module):
    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.embed = nn.Embedding(len(LETTERS), width)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(width, len(LETTERS)))

    def forward(self, letters: torch.Tensor) -> torch.Tensor:
        return self.head(self.gru(self.embed(letters))[0])


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a small language model.")
    parser.add_argument("--run", default="./run", help="folder of the run's checkpoints")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--save-every", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--accumulate", type=int, default=2)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--lr-from", choices=["checkpoint", "argument"], help="which counts where they differ")
    options = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = Letters()
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1000)
    data = {"seed": 42, "accumulate": options.accumulate, "num_workers": options.workers}
    loader = KeyedLoader(Windows(), options.batch_size, **data)

    with Checkpointer(
        options.run,
        model=model,
        optimizer=optimizer,
        scheduler=scheduler,
        loader=loader,
        save_every=options.save_every,
        keep=Keep(last=2, best="loss"),
        arguments=vars(options),
        preemption=True,
    ) as checkpointer:
        resumed = checkpointer.resume(lr=options.lr_from, max_steps=options.steps)
        print(resumed.summary())
        step = resumed.step
        while step < options.steps:
            for letters, following in loader:
                loss = nn.functional.cross_entropy(model(letters).flatten(0, 1), following.flatten())
                (loss / options.accumulate).backward()
                if not loader.steps:
                    continue
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
                step += 1
                print(f"step {step} loss {loss.item()!r}")
                checkpointer.after_step(step, metrics={"loss": loss.item()})
                if step == options.steps:
                    break


if __name__ == "__main__":
    main()
