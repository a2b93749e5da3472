"""Train a tiny causal model from the command line, and go on where a training was interrupted."""

import argparse
import logging
import sys
from pathlib import Path

import torch

import ckpt_core

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from training.config import create_default_config
from training.modular_trainer import ModularTrainer
from training.tiny_model import tiny_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-output", required=True, help="folder of the checkpoints")
    parser.add_argument("--pretrained-model", help="a checkpoint of the same model to begin with")
    parser.add_argument("--resume-from-checkpoint", metavar="PATH", help="go on from this one")
    parser.add_argument("--resume", action="store_true", help="go on from the newest one that is whole")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--gradient-accumulation-steps", type=int, default=1)
    parser.add_argument("--checkpoint-every-n-steps", type=int, default=1000)
    parser.add_argument("--learning-rate", type=float, default=1e-2)
    parser.add_argument("--lr", choices=["checkpoint", "argument"], help="which rate counts where they differ")
    parser.add_argument("--samples", type=int, help="train on so many samples; all if left out")
    options = parser.parse_args()

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    model, tokenizer = tiny_model()
    if options.pretrained_model is not None:
        print(ckpt_core.load_into(model, options.pretrained_model).summary())

    config = create_default_config()
    config.output_dir = options.model_output
    config.training.num_epochs = options.epochs
    config.training.batch_size = options.batch_size
    config.training.gradient_accumulation_steps = options.gradient_accumulation_steps
    config.training.checkpoint_every_n_steps = options.checkpoint_every_n_steps
    config.training.learning_rate = options.learning_rate
    config.training.lr_from = options.lr

    trainer = ModularTrainer(model, tokenizer, config, options.samples)
    resume = options.resume_from_checkpoint or ("newest" if options.resume else None)
    try:
        losses = trainer.train(resume_checkpoint=resume)
    except ckpt_core.CkptError as error:
        sys.exit(f"error: {ckpt_core.in_shell(error.message)}")
    print(f"step {trainer.step}, loss of each epoch {losses}")


if __name__ == "__main__":
    main()
