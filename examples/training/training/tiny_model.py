"""A causal model of letters that trains in seconds, its tokenizer, and the text that it reads."""

import torch
from torch import nn

TEXT = "the quick brown fox jumps over the lazy dog, and the dog sleeps on. " * 90
WINDOW = 8


class LetterTokenizer:
    """Numbers for letters, in the order of the alphabet."""

    def __init__(self) -> None:
        self.letters = sorted(set(TEXT))

    def __call__(self, text: str) -> torch.Tensor:
        return torch.tensor([self.letters.index(letter) for letter in text])


class Windows(torch.utils.data.Dataset):
    """Every stretch of the text, some of its letters replaced at random, and the letters that follow."""

    def __init__(self, tokenizer: LetterTokenizer, samples: int | None = None) -> None:
        self.tokens = tokenizer(TEXT)
        self.samples = len(TEXT) - WINDOW if samples is None else samples

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        letters = self.tokens[index : index + WINDOW + 1]
        noise = torch.rand(WINDOW) < 0.05
        return torch.where(noise, torch.zeros_like(letters[1:]), letters[:-1]), letters[1:]


class TinyModel(nn.Module):
    """Predicts each next letter from the two before it."""

    def __init__(self, letters: int, width: int = 16) -> None:
        super().__init__()
        self.embed = nn.Embedding(letters, width)
        self.mix = nn.Conv1d(width, width, 2)
        self.head = nn.Sequential(nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, letters))

    def forward(self, letters: torch.Tensor) -> torch.Tensor:
        before = nn.functional.pad(self.embed(letters).transpose(1, 2), (1, 0))
        return self.head(self.mix(before).transpose(1, 2))


def tiny_model() -> tuple[TinyModel, LetterTokenizer]:
    """Return an untrained model and its tokenizer, the same ones each time."""
    torch.manual_seed(0)
    tokenizer = LetterTokenizer()
    return TinyModel(len(tokenizer.letters)), tokenizer
