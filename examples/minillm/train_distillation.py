"""Distillation: a student learns a larger teacher's distribution over the next token, beside the answer itself.

The loss is alpha CE + (1 - alpha) T² KL(teacher || student), both softened by a temperature T (Hinton et al. 2015,
section 2).
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ckpt_minillm import init_from_args
from minillm.data import Row, chat_batch
from minillm.loop import Figures, Training, new_model, parser_of, run_command
from minillm.losses import divergence, next_token_loss
from minillm.model import MiniLLM


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    parser = parser_of(
        __doc__, stage="full_dist", load_stage="full_sft", data="sft_mini_512.jsonl", learning_rate=5e-4, epochs=4
    )
    parser.add_argument("--teacher_path", required=True, help="the teacher's weights, named: none is searched for")
    parser.add_argument("--teacher_hidden_size", type=int, help="the student's, without it")
    parser.add_argument("--teacher_num_hidden_layers", type=int, help="the student's, without it")
    parser.add_argument("--alpha", type=float, default=0.0, help="share of the cross entropy in the loss")
    parser.add_argument("--temperature", type=float, default=1.5)
    args = parser.parse_args(argv)
    teacher, model = new_teacher(args), new_model(args)
    training = Training(args, model)

    def step(rows: list[Row]) -> Figures:
        tokens, mask = chat_batch(rows, args.max_seq_len)
        with torch.no_grad():
            wanted = teacher(tokens[:, :-1])
        gap = divergence(wanted, model(tokens[:, :-1]), mask[:, 1:], args.temperature)
        loss = (1 - args.alpha) * gap
        if args.alpha:
            loss = loss + args.alpha * next_token_loss(model, tokens, mask)
        return {"loss": training.descend(loss), "kl": gap.item()}

    @torch.no_grad()
    def evaluate() -> Mapping[str, Any]:
        tokens, mask = chat_batch(training.rows, args.max_seq_len)
        return {"kl": divergence(teacher(tokens[:, :-1]), model(tokens[:, :-1]), mask[:, 1:]).item()}

    return training.run(step, evaluate=evaluate)


def new_teacher(args: argparse.Namespace) -> MiniLLM:
    """The teacher, frozen."""
    own = {
        "pretrained_path": args.teacher_path,
        "load_from_remote": False,
        "from_resume": "0",
        "hidden_size": args.teacher_hidden_size or args.hidden_size,
        "num_hidden_layers": args.teacher_num_hidden_layers or args.num_hidden_layers,
    }
    its_args = argparse.Namespace(**{**vars(args), **own})
    teacher = new_model(its_args)
    print(f"teacher: {init_from_args(teacher, its_args).summary()}")
    return teacher.eval().requires_grad_(False)


if __name__ == "__main__":
    run_command(main)
