"""The same model in a loop with Accelerate: run it again after it was killed, and it goes on, bit for bit.

python train_accelerate.py --run ./run --steps 60
"""

import argparse

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch import nn
from train import Letters, Windows

from ckpt_core.training import Checkpointer, KeyedLoader


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a small language model with Accelerate.")
    parser.add_argument("--run", default="./run", help="folder of the run's checkpoints")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--save-every", type=int, default=20)
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(1)
    accelerator = Accelerator()
    model = Letters()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1000)
    model, optimizer, scheduler = accelerator.prepare(model, optimizer, scheduler)
    # The loader is not prepared, which would wrap its order, and it counts the accumulation, which Accelerate forgets.
    loader = KeyedLoader(Windows(), 16, seed=42, accumulate=2, num_workers=options.workers)

    with Checkpointer(
        options.run,
        model=accelerator.unwrap_model(model),
        optimizer=optimizer.optimizer,
        scheduler=scheduler.scheduler,
        scaler=accelerator.scaler,
        loader=loader,
        save_every=options.save_every,
        keep=2,
        preemption=True,
    ) as checkpointer:
        resumed = checkpointer.resume(max_steps=options.steps)
        print(resumed.summary())
        step = resumed.step
        while step < options.steps:
            for batch in loader:
                letters, following = send_to_device(batch, accelerator.device)
                loss = nn.functional.cross_entropy(model(letters).flatten(0, 1), following.flatten())
                accelerator.backward(loss / loader.accumulate)
                if not loader.steps:
                    continue
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
                step += 1
                print(f"step {step} loss {loss.item()!r}")
                checkpointer.after_step(step, metrics={"loss": loss.item()})
                if step == options.steps:
                    break


if __name__ == "__main__":
    main()
