"""Direct preference optimisation: chosen answers made likelier than rejected ones, as measured against the start.

The loss is -log sigmoid(beta gain). The gain is by how much more the policy prefers the chosen answer, in nats,
than the frozen start does (Rafailov et al. 2023, equation 7).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from minillm.data import Row, chat_batch
from minillm.loop import Figures, Training, new_model, parser_of, run_command, starting_point
from minillm.losses import log_probs
from torch import Tensor, nn
from torch.nn import functional


def answer_log_probs(model: nn.Module, rows: Sequence[Row], answer: str, length: int) -> Tensor:
    """Log-probability of each row's answer, whole."""
    tokens, mask = chat_batch(rows, length, answer)
    return (log_probs(model, tokens) * mask[:, 1:]).sum(-1)


def margins(model: nn.Module, rows: Sequence[Row], length: int) -> Tensor:
    """By how much the chosen answer is likelier than the rejected one, in nats."""
    return answer_log_probs(model, rows, "chosen", length) - answer_log_probs(model, rows, "rejected", length)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    parser = parser_of(__doc__, stage="rlhf", load_stage="full_sft", data="dpo_pairs.jsonl", learning_rate=1e-4)
    parser.add_argument("--beta", type=float, default=0.1, help="how much it costs to leave the start")
    args = parser.parse_args(argv)
    reference, model = starting_point(args), new_model(args)
    training = Training(args, model)

    def step(rows: list[Row]) -> Figures:
        gain = margins(model, rows, args.max_seq_len) - margins(reference, rows, args.max_seq_len)
        loss = training.descend(-functional.logsigmoid(args.beta * gain).mean())
        return {"loss": loss, "margin": gain.mean().item()}

    @torch.no_grad()
    def evaluate() -> Mapping[str, Any]:
        gains = margins(model, training.rows, args.max_seq_len) - margins(reference, training.rows, args.max_seq_len)
        norm = sum(parameter.double().square().sum().item() for parameter in reference.parameters())
        return {"margin": gains.mean().item(), "reference_norm": norm}

    return training.run(step, evaluate=evaluate)


if __name__ == "__main__":
    run_command(main)
