"""What the nine trainers share: their flags, where they start, their steps, their saves and their figures.

Every checkpoint comes and goes through three calls of ckpt_minillm: `add_checkpoint_arguments`, `init_from_args` and
`save_checkpoint`. A step depends on the weights, the optimizer's state, and the number of the step: it seeds torch by
that number, and so a run that goes on from a resume file takes the same steps as one that was never stopped.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ckpt_minillm import add_checkpoint_arguments, init_from_args, save_checkpoint
from torch import Tensor, nn

from ckpt_core import CkptError
from minillm.data import Row, batches_of, read_rows
from minillm.model import Config, MiniLLM

DATA = Path(__file__).parents[1] / "data" / "processed"

Figures = dict[str, float]


def parser_of(
    summary: str | None,
    *,
    stage: str,
    load_stage: str,
    data: str,
    learning_rate: float,
    batch_size: int = 4,
    epochs: int = 1,
    random_start: bool = False,
) -> argparse.ArgumentParser:
    """The flags of a trainer; its own can be added."""
    parser = argparse.ArgumentParser(description=summary)
    add_checkpoint_arguments(parser, stage=stage, load_stage=load_stage, allow_random_init=random_start)
    parser.add_argument("--data_path", default=str(DATA / data), help="JSON lines to train on")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--batch_size", type=int, default=batch_size)
    parser.add_argument("--learning_rate", type=float, default=learning_rate)
    parser.add_argument("--grad_clip", type=float, default=1.0)
    parser.add_argument("--max_seq_len", type=int, default=128, help="tokens of a row that are used")
    parser.add_argument("--max_samples", type=int, help="use only so many rows")
    parser.add_argument("--max_steps", type=int, help="stop after this step of the run, and save")
    parser.add_argument("--save_interval", type=int, default=100, help="save after so many steps, and at the end")
    parser.add_argument("--log_interval", type=int, default=10)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--metrics_path", help="write the figures of this run here, as JSON")
    return parser


def config_of(args: argparse.Namespace) -> Config:
    return Config(hidden_size=args.hidden_size, num_hidden_layers=args.num_hidden_layers, use_moe=args.use_moe)


def new_model(args: argparse.Namespace) -> MiniLLM:
    """A model with random weights that follow from the seed."""
    torch.manual_seed(args.seed)
    return MiniLLM(config_of(args))


def starting_point(args: argparse.Namespace) -> MiniLLM:
    """The model that this run started from, frozen: also where the run goes on from a resume file."""
    model = new_model(args)
    init_from_args(model, argparse.Namespace(**{**vars(args), "from_resume": "0"}))
    return model.eval().requires_grad_(False)


def run_command(main: Callable[[], object]) -> None:
    """Run the `main` of a script: what ckpt refuses ends it with one line, and the exit code that `ckpt` would have."""
    try:
        main()
    except CkptError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


class Training:
    """One run of a trainer.

    Args:
        args: What `parser_of` parsed.
        model: What is trained and saved. It is filled from where the flags say.
        parameters: What is optimised; None for all of the model.
        extra: What a resume file has besides, under minimind's names: `{"critic_model": …}`.
        adapter: Whether the weights file gets the LoRA alone.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        model: nn.Module,
        *,
        parameters: Sequence[nn.Parameter] | None = None,
        extra: Mapping[str, Any] | None = None,
        adapter: bool = False,
    ) -> None:
        self.args, self.model, self.extra, self.adapter = args, model, extra, adapter
        self.parameters = list(model.parameters()) if parameters is None else list(parameters)
        self.optimizer = torch.optim.AdamW(self.parameters, lr=args.learning_rate)
        self.rows = read_rows(args.data_path, args.max_samples)
        self.report = init_from_args(model, args, optimizer=self.optimizer, extra=extra)
        print(self.report.summary())

    def run(
        self, step: Callable[[list[Row]], Figures], *, evaluate: Callable[[], Mapping[str, Any]] | None = None
    ) -> dict[str, Any]:
        """Take every step that is left, save, and tell how it went.

        Args:
            step: Trains on a batch and returns its figures, `loss` among them.
            evaluate: Figures of the whole data, taken before and after.
        """
        before = evaluate() if evaluate else {}
        history: list[Figures] = []
        for epoch, number, at, rows in self._batches():
            self._set_rates(at)
            torch.manual_seed(self.args.seed * 1_000_003 + at)
            history.append(step(rows))
            if at % self.args.log_interval == 0 or at == self._end:
                shown = ", ".join(f"{name} {value:.4f}" for name, value in history[-1].items())
                print(f"step {at}/{self._end}: {shown}", flush=True)
            if at % self.args.save_interval == 0 or at == self._end:
                self.save(epoch, number)
        if not history:
            print(f"nothing left to do: {self.report.source} has taken all {self._end} steps")
        return self._told(history, before, evaluate() if evaluate else {})

    def descend(self, loss: Tensor) -> float:
        """One step of the optimizer down a loss."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.args.grad_clip)
        self.optimizer.step()
        return loss.item()

    def save(self, epoch: int, number: int) -> None:
        """Write the weights, and what training goes on from."""
        saved = save_checkpoint(
            self.model,
            self.args,
            optimizer=self.optimizer,
            epoch=epoch,
            step=number,
            extra=self.extra,
            adapter=self.adapter,
        )
        print(f"saved {', '.join(saved.paths)}", flush=True)

    @property
    def _in_epoch(self) -> int:
        return math.ceil(len(self.rows) / self.args.batch_size)

    @property
    def _end(self) -> int:
        """The number of the last step."""
        total = self.args.epochs * self._in_epoch
        return total if self.args.max_steps is None else min(total, self.args.max_steps)

    def _batches(self) -> Iterator[tuple[int, int, int, list[Row]]]:
        """What is left: epoch (from 0), number of the batch in it (from 1), number of the step (from 1), rows."""
        for epoch in range(self.report.epoch, self.args.epochs):
            skip = self.report.step if epoch == self.report.epoch else 0
            batches = batches_of(self.rows, self.args.batch_size, self.args.seed, epoch, skip)
            for number, rows in enumerate(batches, skip + 1):
                at = epoch * self._in_epoch + number
                if at > self._end:
                    return
                yield epoch, number, at, rows

    def _set_rates(self, at: int) -> None:
        """From the whole rate down to a tenth of it, along a cosine, over all epochs."""
        share = (at - 1) / (self.args.epochs * self._in_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = self.args.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * share)))

    def _told(self, history: Sequence[Figures], before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
        told = {
            "stage": self.args.save_weight,
            "source": self.report.source,
            "random": self.report.random,
            "resumed": self.report.resumed,
            "steps": len(history),
            "history": list(history),
            "before": dict(before),
            "after": dict(after),
        }
        if self.args.metrics_path:
            path = Path(self.args.metrics_path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(told, indent=2) + "\n")
        return told
