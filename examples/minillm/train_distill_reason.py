"""Reasoning distilled: answers that think first, between marks that count ten times as much as other tokens.

An answer is <think>…</think><answer>…</answer>, written by a stronger model. What is hard for a small one is to keep to
the form, and so each mark weighs more in the loss; the sum is divided by the number of tokens, as if none did.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from minillm.data import Row, chat_batch
from minillm.loop import Figures, Training, new_model, parser_of, run_command
from minillm.losses import log_probs, masked_mean, next_token_loss
from minillm.tokens import ANSWER, ANSWER_END, THINK, THINK_END
from torch import Tensor

FORM = (THINK, THINK_END, ANSWER, ANSWER_END)


def weighted(tokens: Tensor, mask: Tensor, weight: float) -> Tensor:
    """The mask, with `weight` in place of 1 where a token is one of the form's."""
    return torch.where(torch.isin(tokens, torch.tensor(FORM)) & (mask > 0), weight, mask.float())


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    parser = parser_of(__doc__, stage="reason", load_stage="rlhf", data="reason.jsonl", learning_rate=5e-4, epochs=4)
    parser.add_argument("--mark_weight", type=float, default=10.0)
    args = parser.parse_args(argv)
    model = new_model(args)
    training = Training(args, model)

    def step(rows: list[Row]) -> Figures:
        tokens, mask = chat_batch(rows, args.max_seq_len)
        return {"loss": training.descend(next_token_loss(model, tokens, weighted(tokens, mask, args.mark_weight)))}

    @torch.no_grad()
    def evaluate() -> Mapping[str, Any]:
        tokens, mask = chat_batch(training.rows, args.max_seq_len)
        marks = (weighted(tokens, mask, 2.0) == 2)[:, 1:].float()
        found = log_probs(model, tokens)
        return {"mark_loss": -masked_mean(found, marks).item(), "loss": -masked_mean(found, mask[:, 1:]).item()}

    return training.run(step, evaluate=evaluate)


if __name__ == "__main__":
    run_command(main)
