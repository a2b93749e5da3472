"""A trainer as the guide describes it, around a `Checkpointer`."""

import logging
from typing import Any

import torch
from torch import nn

from ckpt_core.training import Checkpointer, ExtraState, Keep, KeyedLoader, Resumed, seeded_split
from training.config import Config
from training.tiny_model import Windows

log = logging.getLogger(__name__)


class ModularTrainer:
    """Trains a model for some epochs; each checkpoint is `OUTPUT_DIR/checkpoint-STEP`, whole or not there.

    What is no state of the model or the optimizer, such as the losses of the epochs so far, is saved as extra state.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, config: Config, samples: int | None = None) -> None:
        training = config.training
        self.model, self.config = model, config
        self.step, self.best_loss = 0, float("inf")
        self.epoch_losses: list[float] = []
        self.running = [0.0, 0]
        train, validation = seeded_split(Windows(tokenizer, samples), training.validation, seed=training.seed)
        accumulate = training.gradient_accumulation_steps
        self.loader = KeyedLoader(train, training.batch_size, seed=training.seed, accumulate=accumulate)
        self.validation = KeyedLoader(validation, 64, seed=training.seed, shuffle=False)
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=training.learning_rate)
        self.scheduler = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.9995)

    def train(self, resume_checkpoint: str | None = None) -> list[float]:
        """Train, from a checkpoint if one is named (`newest` for the newest); return the loss of each epoch."""
        training = self.config.training
        with self._checkpointer() as checkpointer:
            if resume_checkpoint is not None:
                self._resumed(checkpointer.resume(resume_checkpoint, lr=training.lr_from, max_steps=self.max_steps))
            while self.loader.epoch < training.num_epochs:
                for letters, following in self.loader:
                    self._learn(checkpointer, letters, following)
                self._end_epoch()
            if self.step % training.checkpoint_every_n_steps:
                checkpointer.save(self.step, metrics={"val_loss": self.best_loss})
        return self.epoch_losses

    @property
    def max_steps(self) -> int:
        """Steps of the optimizer in all epochs."""
        return -(-len(self.loader) // self.loader.accumulate) * self.config.training.num_epochs

    def _checkpointer(self) -> Checkpointer:
        training = self.config.training
        return Checkpointer(
            self.config.output_dir,
            model=self.model,
            optimizer=self.optimizer,
            scheduler=self.scheduler,
            loader=self.loader,
            trainer=ExtraState(self, {"": ["epoch_losses", "best_loss", "running"]}),
            save_every=training.checkpoint_every_n_steps,
            keep=Keep(training.keep_last),
            arguments=vars(training),
            preemption=True,
        )

    def _resumed(self, resumed: Resumed) -> None:
        self.step = resumed.step
        print(resumed.plan.table())
        log.info("✅ RNG states restored")

    def _learn(self, checkpointer: Checkpointer, letters: torch.Tensor, following: torch.Tensor) -> None:
        loss = nn.functional.cross_entropy(self.model(letters).flatten(0, 1), following.flatten())
        (loss / self.loader.accumulate).backward()
        value = loss.item()
        self.running = [self.running[0] + value, self.running[1] + 1]
        if self.loader.steps:
            self.optimizer.step()
            self.scheduler.step()
            self.optimizer.zero_grad()
            self.step += 1
            checkpointer.after_step(self.step, metrics={"loss": value})

    def _end_epoch(self) -> None:
        self.model.eval()
        with torch.no_grad():
            losses = [
                nn.functional.cross_entropy(self.model(letters).flatten(0, 1), following.flatten()).item()
                for letters, following in self.validation
            ]
        self.model.train()
        self.best_loss = min(self.best_loss, sum(losses) / len(losses))
        self.epoch_losses.append(self.running[0] / max(self.running[1], 1))
        self.running = [0.0, 0]
        log.info("epoch %d: loss %.4f, best val_loss %.4f", self.loader.epoch, self.epoch_losses[-1], self.best_loss)
