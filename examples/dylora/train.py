"""A small mixture of LoRA experts, trained by transformers' Trainer, preempted, and gone on with on another machine.

Every checkpoint is uploaded to W&B as it is saved. The last line that is printed is one JSON object: what steps were
done, the learning rate of each, and what the training went on from.
"""

import argparse
import json
import os
import signal
from typing import Any
from zlib import crc32

import torch
import wandb
from ckpt_wandb import Resumption, add_arguments, resolve, subset_indices, upload
from torch import nn
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments

SKILLS = os.path.join("dylo_moe_state", "skill_library.pt")
"""Where a checkpoint has the library, as DyLoRA-MoE does."""


class Mixture(nn.Module):
    """A linear layer, and LoRA experts that a router weighs."""

    def __init__(self, num_experts: int) -> None:
        super().__init__()
        self.base = nn.Linear(8, 8)
        self.router = nn.Linear(8, num_experts)
        self.lora_A = nn.ModuleDict({f"expert_{n}": nn.Linear(8, 2, bias=False) for n in range(num_experts)})
        self.lora_B = nn.ModuleDict({f"expert_{n}": nn.Linear(2, 8, bias=False) for n in range(num_experts)})
        # A buffer, not a plain tensor: what is no buffer is in no checkpoint.
        self.register_buffer("expert_maturity", torch.zeros(num_experts))

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        weights = self.router(x).softmax(-1)
        routed = torch.stack([self.lora_B[name](self.lora_A[name](x)) for name in self.lora_A], -1)
        if self.training:
            self.expert_maturity += 1
        out = self.base(x) + (routed * weights.unsqueeze(-2)).sum(-1)
        return {"loss": ((out - labels) ** 2).mean(), "logits": out}


class Uploading(TrainerCallback):
    """Uploads each checkpoint as it is saved; what fails is an error of the training."""

    def __init__(self, artifact: str, run: Any) -> None:
        self._artifact, self._run = artifact, run

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        folder = os.path.join(args.output_dir, f"checkpoint-{state.global_step}")
        upload(folder, self._artifact, run=self._run)


class Skills(TrainerCallback):
    """Keeps a library of what was learned beside each checkpoint, of which the Trainer knows nothing.

    Attributes:
        library: The experts' weights at each save, by step.
    """

    def __init__(self, path: str | None) -> None:
        self.library: dict[str, torch.Tensor] = {}
        if path is not None:
            self.library = torch.load(os.path.join(path, SKILLS), weights_only=True)

    def on_save(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.library[f"step {state.global_step}"] = model.router.weight.detach().clone()
        place = os.path.join(args.output_dir, f"checkpoint-{state.global_step}", SKILLS)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        torch.save(self.library, place)


class Steps(TrainerCallback):
    """Notes each step and its learning rate, and ends as a spot machine does."""

    def __init__(self, preempt_at: int | None) -> None:
        self.done: list[int] = []
        self.rates: list[float] = []
        self._preempt_at = preempt_at

    def on_step_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any) -> None:
        if state.global_step == self._preempt_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.done.append(state.global_step + 1)
        self.rates.append(optimizer.param_groups[0]["lr"])


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    parser.add_argument("--output_dir", default="results_full")
    parser.add_argument("--num_experts", type=int, default=2)
    parser.add_argument("--max_steps", type=int, default=4)
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--upload_to", metavar="ENTITY/PROJECT/NAME", help="upload each checkpoint as it is saved")
    parser.add_argument("--preempt_at", type=int, metavar="STEP", help="be killed before the step after this one")
    return parser.parse_args()


def made_up(name: str) -> list[dict[str, torch.Tensor]]:
    """Return the 64 examples that a dataset of this name has."""
    source = torch.Generator().manual_seed(crc32(name.encode()))
    return [{part: torch.randn(8, generator=source) for part in ("x", "labels")} for _ in range(64)]


def train(args: argparse.Namespace, start: Resumption | None, run: Any) -> tuple[Trainer, Steps, Skills]:
    torch.manual_seed(0)
    data = {name: made_up(name) for name in args.datasets or ("code_alpaca",)}
    steps = Steps(args.preempt_at)
    skills = Skills(None if start is None else start.path)
    patience = args.early_stopping_patience
    stopping = EarlyStoppingCallback(patience) if start is None else start.early_stopping(patience)
    callbacks: list[Any] = [stopping, steps, skills]
    if start is not None:
        callbacks.insert(0, start.callback())
    if args.upload_to:
        callbacks.append(Uploading(args.upload_to, run))
    told = TrainingArguments(
        args.output_dir,
        max_steps=args.max_steps,
        save_steps=2,
        eval_strategy="steps",
        eval_steps=2,
        metric_for_best_model="eval_loss",
        learning_rate=args.learning_rate,
        lr_scheduler_type="constant",
        per_device_train_batch_size=4,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = Trainer(
        Mixture(args.num_experts),
        told,
        train_dataset=[one[index] for one in data.values() for index in subset_indices(48, args.training_subset)],
        eval_dataset=[one[48 + index] for one in data.values() for index in subset_indices(16, args.eval_subset)],
        callbacks=callbacks,
    )
    trainer.train(resume_from_checkpoint=None if start is None else start.path)
    return trainer, steps, skills


def main() -> None:
    args = parsed()
    start = resolve(args, output_dir=args.output_dir)
    run = None
    if args.upload_to:
        entity, project, _name = args.upload_to.split("/")
        known = start.run_id if start is not None else None
        run = wandb.init(entity=entity, project=project, id=known, resume="allow", config=vars(args))
    trainer, steps, skills = train(args, start, run)
    if run is not None:
        run.finish()
    answer = {
        "steps": steps.done,
        "rates": steps.rates,
        "examples": len(trainer.train_dataset),
        "skills": list(skills.library),
        "maturity": trainer.model.expert_maturity.tolist(),
        "from": None if start is None else start.ref,
        "run_id": run.id if run is not None else None,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
