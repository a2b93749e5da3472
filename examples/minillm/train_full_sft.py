"""Supervised fine-tuning: answers to questions, all weights trained, only the answers learnt."""

from collections.abc import Sequence
from typing import Any

from minillm.data import Row, chat_batch
from minillm.loop import Figures, Training, new_model, parser_of, run_command
from minillm.losses import next_token_loss


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    args = parser_of(
        __doc__, stage="full_sft", load_stage="pretrain", data="sft_mini_512.jsonl", learning_rate=5e-4, epochs=2
    ).parse_args(argv)
    model = new_model(args)
    training = Training(args, model)

    def step(rows: list[Row]) -> Figures:
        tokens, mask = chat_batch(rows, args.max_seq_len)
        return {"loss": training.descend(next_token_loss(model, tokens, mask))}

    return training.run(step)


if __name__ == "__main__":
    run_command(main)
