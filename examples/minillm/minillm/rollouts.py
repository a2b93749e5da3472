"""Answers sampled from a policy, and what they are worth: the part that PPO, GRPO and SPO have in common."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minillm.data import Row, padded
from minillm.losses import log_probs
from minillm.tokens import EOS, PAD, prompt_tokens


@dataclass(frozen=True, slots=True)
class Rollouts:
    """Sampled answers.

    Attributes:
        tokens: Question and answer, of shape (batch, tokens).
        mask: 1 for each token after the first that is of an answer, of shape (batch, tokens - 1).
        old: Log-probability of those tokens under the policy that sampled them.
        rewards: What each answer is worth, from 0 to 1.
    """

    tokens: Tensor
    mask: Tensor
    old: Tensor
    rewards: Tensor


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that those three trainers have besides the flags of all."""
    parser.add_argument("--max_gen_len", type=int, default=12)
    parser.add_argument("--updates", type=int, default=2, help="steps of each optimizer on each sample")
    parser.add_argument("--clip", type=float, default=0.2)


@torch.no_grad()
def sample(policy: nn.Module, rows: Sequence[Row], length: int, *, temperature: float = 1.0) -> Rollouts:
    """An answer of at most `length` tokens to each row's question. Draws from torch's global generator."""
    prompts = [prompt_tokens(row["prompt"]) for row in rows]
    ends = torch.tensor([len(prompt) for prompt in prompts])
    starts, open_rows = ends.clone(), torch.ones(len(rows), dtype=torch.bool)
    tokens = padded([prompt + [PAD] * length for prompt in prompts], int(ends.max()) + length)
    for _ in range(length):
        # What stands behind a row's end is padding, which a causal model does not see there.
        logits = policy(tokens[:, : int(ends.max())])[torch.arange(len(rows)), ends - 1].float()
        drawn = torch.multinomial((logits / temperature).softmax(-1), 1).squeeze(-1)
        tokens[open_rows, ends[open_rows]] = drawn[open_rows]
        ends = ends + open_rows
        open_rows &= drawn != EOS
    place = torch.arange(1, tokens.shape[1])
    mask = ((place >= starts[:, None]) & (place < ends[:, None])).float()
    answers = [row[start:end].tolist() for row, start, end in zip(tokens, starts, ends, strict=True)]
    rewards = torch.tensor([reward_of(row, answer) for row, answer in zip(rows, answers, strict=True)])
    return Rollouts(tokens, mask, log_probs(policy, tokens), rewards)


def reward_of(row: Row, answer: Sequence[int]) -> float:
    """The share of an answer's tokens that are among the letters that the row asks for: a rule, and no model."""
    return sum(token < 256 and chr(token) in row["letters"] for token in answer) / max(len(answer), 1)
