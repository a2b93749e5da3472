"""LoRA fine-tuning: low-rank products beside frozen weights. The weights file holds the products alone.

`ckpt convert full_sft_512.pth merged_512.pth --to minillm --lora lora_identity_512.pth` merges them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from minillm.data import Row, chat_batch
from minillm.loop import Figures, Training, new_model, parser_of, run_command
from minillm.lora import RANK, add_lora, base_state, unchanged
from minillm.losses import next_token_loss


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    parser = parser_of(
        __doc__, stage="lora_identity", load_stage="full_sft", data="sft_mini_512.jsonl", learning_rate=1e-3, epochs=2
    )
    parser.add_argument("--rank", type=int, default=RANK)
    args = parser.parse_args(argv)
    model = new_model(args)
    training = Training(args, model, parameters=add_lora(model, args.rank), adapter=True)
    base = base_state(model)

    def step(rows: list[Row]) -> Figures:
        tokens, mask = chat_batch(rows, args.max_seq_len)
        return {"loss": training.descend(next_token_loss(model, tokens, mask))}

    def evaluate() -> Mapping[str, Any]:
        return {"base_unchanged": unchanged(base, base_state(model))}

    return training.run(step, evaluate=evaluate)


if __name__ == "__main__":
    run_command(main)
