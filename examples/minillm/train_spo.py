"""Single-stream policy optimisation: one answer to each question, judged against what the question usually gets.

A tracker keeps, for each question, a Beta estimate of the reward, and forgets faster the further the policy has moved
since it saw the question last. The advantage is the reward less the estimate of before, normalised over the batch; the
surrogate is PPO's (Xu and Ding 2025, arXiv:2509.13232, section 3). Questions are taken in turn here, not by priority.
"""

from collections.abc import Sequence
from typing import Any

import torch
from minillm.data import Row, read_rows
from minillm.loop import Figures, Training, new_model, parser_of, run_command
from minillm.losses import clipped_loss, log_probs, masked_mean
from minillm.rollouts import add_sampling_arguments, sample
from torch import Tensor, nn


class ValueTracker(nn.Module):
    """What each question's answers are worth: alpha / (alpha + beta), of which old observations fade.

    A module, so that a resume file can hold its state.
    """

    alpha: Tensor
    beta: Tensor

    def __init__(self, questions: int, *, least: float = 0.5, most: float = 0.96, half: float = 0.06) -> None:
        super().__init__()
        self.least, self.most, self.half = least, most, half
        self.register_buffer("alpha", torch.full((questions,), 0.5 / (1 - least)))
        self.register_buffer("beta", torch.full((questions,), 0.5 / (1 - least)))

    def values(self, questions: Tensor) -> Tensor:
        return self.alpha[questions] / (self.alpha[questions] + self.beta[questions])

    def observe(self, questions: Tensor, rewards: Tensor, divergence: float) -> None:
        """Take in rewards from 0 to 1; the further the policy moved, the less older ones count."""
        kept = min(max(2 ** (-divergence / self.half), self.least), self.most)
        self.alpha[questions] = kept * self.alpha[questions] + rewards
        self.beta[questions] = kept * self.beta[questions] + 1 - rewards


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    parser = parser_of(
        __doc__,
        stage="spo",
        load_stage="full_sft",
        data="rl_prompts.jsonl",
        learning_rate=3e-4,
        batch_size=8,
        epochs=12,
    )
    add_sampling_arguments(parser)
    args = parser.parse_args(argv)
    model = new_model(args)
    number = {row["prompt"]: index for index, row in enumerate(read_rows(args.data_path))}
    tracker = ValueTracker(len(number))
    training = Training(args, model, extra={"value_model": tracker})

    def step(rows: list[Row]) -> Figures:
        questions = torch.tensor([number[row["prompt"]] for row in rows])
        found = sample(model, rows, args.max_gen_len)
        gains = found.rewards - tracker.values(questions)
        advantages = (gains - gains.mean()) / (gains.std(correction=0) + 1e-4)
        for _ in range(args.updates):
            new = log_probs(model, found.tokens)
            loss = training.descend(clipped_loss(new, found.old, advantages[:, None], found.mask, args.clip))
        moved = masked_mean(found.old - new.detach(), found.mask).abs().item()
        tracker.observe(questions, found.rewards, moved)
        return {"loss": loss, "reward": found.rewards.mean().item(), "value": tracker.values(questions).mean().item()}

    return training.run(step)


if __name__ == "__main__":
    run_command(main)
