"""A training by transformers' Trainer of a small mixture of LoRA experts, as the guide's train.py is told.

Prints one JSON line: the step it began at and ended at, the learning rate of each step, and a sum over the weights at
the beginning and at the end.
"""

import argparse
import json

import torch
from ckpt_wandb import add_arguments, resolve, subset_indices
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments


class Mixture(nn.Module):
    def __init__(self, num_experts):
        super().__init__()
        self.base = nn.Linear(8, 8)
        self.router = nn.Linear(8, num_experts)
        self.lora_A = nn.ModuleDict({f"expert_{n}": nn.Linear(8, 2, bias=False) for n in range(num_experts)})
        self.lora_B = nn.ModuleDict({f"expert_{n}": nn.Linear(2, 8, bias=False) for n in range(num_experts)})
        self.register_buffer("expert_maturity", torch.zeros(num_experts))

    def forward(self, x, labels):
        weights = self.router(x).softmax(-1)
        routed = torch.stack([self.lora_B[name](self.lora_A[name](x)) for name in self.lora_A], -1)
        if self.training:
            self.expert_maturity += 1
        out = self.base(x) + (routed * weights.unsqueeze(-2)).sum(-1)
        return {"loss": ((out - labels) ** 2).mean(), "logits": out}


class Noting(TrainerCallback):
    def __init__(self):
        self.began, self.rates = None, []

    def on_step_begin(self, args, state, control, optimizer, **_):
        self.began = state.global_step if self.began is None else self.began
        self.rates.append(optimizer.param_groups[0]["lr"])


def main():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--num_experts", type=int, default=2)
    parser.add_argument("--max_steps", type=int, default=4)
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--lr_unset", action="store_true")
    args = parser.parse_args()
    if args.lr_unset:
        args.lr_from = None
    start = resolve(args, output_dir=args.output_dir)

    torch.manual_seed(0)
    examples = [{"x": torch.randn(8), "labels": torch.randn(8)} for _ in range(64)]
    examples = [examples[index] for index in subset_indices(len(examples), args.training_subset)]
    model, noting = Mixture(args.num_experts), Noting()
    told = TrainingArguments(
        args.output_dir,
        max_steps=args.max_steps,
        save_steps=2,
        learning_rate=args.learning_rate,
        lr_scheduler_type="constant",
        per_device_train_batch_size=4,
        report_to="none",
        disable_tqdm=True,
        logging_steps=1000,
        use_cpu=True,
        save_total_limit=2,
    )
    callbacks = [noting] if start is None else [start.callback(), noting]
    trainer = Trainer(model, told, train_dataset=examples, callbacks=callbacks)
    trainer.train(resume_from_checkpoint=None if start is None else start.path)
    answer = {
        "began": noting.began,
        "ended": trainer.state.global_step,
        "rates": noting.rates,
        "examples": len(examples),
        "maturity": model.expert_maturity.tolist(),
        "from": None if start is None else start.ref,
        "run_id": None if start is None else start.run_id,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
