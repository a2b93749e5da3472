"""diffusers on a tiny UNet: saves pipelines and a training, or uses them in a fresh process.

python diffusers_runs.py train OUT               OUT/{pipe,fp16,sharded,ema,run/checkpoint-2,run/checkpoint-4}
python diffusers_runs.py use PIPELINE CHECKPOINT  prints what the pipeline draws, and the losses after the checkpoint
"""

import json
import sys
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

import torch  # noqa: E402 - it warns of what diffusers builds
from accelerate import Accelerator  # noqa: E402
from accelerate.utils import set_seed  # noqa: E402
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel  # noqa: E402
from diffusers.training_utils import EMAModel  # noqa: E402

torch.backends.mkldnn.enabled = False  # its kernels differ in the last bit by how memory is aligned
STEPS = 6


def unet():
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",), "block_out_channels": (4,)}
    sizes = {"sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1, "attention_head_dim": 2}
    return UNet2DModel(norm_num_groups=2, **sizes, **blocks)


def drawn(pipeline):
    images = pipeline(generator=torch.Generator().manual_seed(1), num_inference_steps=2, output_type="np").images
    return float(abs(images.astype("float64")).sum())


class Training:
    """As the trainings in diffusers' examples: hooks save the UNet and its average in folders of their own."""

    def __init__(self):
        set_seed(3)
        self.accelerator = Accelerator(cpu=True)
        network = unet()
        self.average = EMAModel(network.parameters(), model_cls=UNet2DModel, model_config=network.config)
        optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
        self.accelerator.register_save_state_pre_hook(self.save)
        self.accelerator.register_load_state_pre_hook(self.load)
        self.network, self.optimizer, self.scheduler = self.accelerator.prepare(network, optimizer, scheduler)

    def save(self, models, weights, folder):
        self.average.save_pretrained(f"{folder}/unet_ema")
        for model in models:
            model.save_pretrained(f"{folder}/unet")
            weights.pop()

    def load(self, models, folder):
        self.average.load_state_dict(EMAModel.from_pretrained(f"{folder}/unet_ema", UNet2DModel).state_dict())
        while models:
            models.pop().load_state_dict(UNet2DModel.from_pretrained(f"{folder}/unet").state_dict())

    def run(self, first, folder=None):
        losses = []
        for step in range(first, STEPS):
            sample = torch.randn(1, 1, 8, 8)
            loss = (self.network(sample, 1).sample - sample).square().mean()
            self.accelerator.backward(loss)
            self.optimizer.step()
            self.scheduler.step()
            self.optimizer.zero_grad()
            self.average.step(self.network.parameters())
            losses.append(loss.item())
            if folder and step + 1 in (2, 4):
                self.accelerator.save_state(f"{folder}/checkpoint-{step + 1}")
        return losses


def main(job, folder, checkpoint=None):
    if job == "use":
        pipeline = DDPMPipeline.from_pretrained(folder)
        pipeline.set_progress_bar_config(disable=True)
        training = Training()
        training.accelerator.load_state(checkpoint)
        # It saves as the first run did: an average that is saved draws random numbers.
        losses = training.run(int(checkpoint.rpartition("-")[2]), str(Path(checkpoint).parents[1] / "again"))
        print("USED", json.dumps({"drawn": drawn(pipeline), "losses": losses}))
        return
    pipeline = DDPMPipeline(unet(), DDPMScheduler(num_train_timesteps=4))
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(f"{folder}/pipe")
    pipeline.save_pretrained(f"{folder}/fp16", variant="fp16")
    pipeline.unet.save_pretrained(f"{folder}/sharded", max_shard_size="10KB")
    training = Training()
    training.average.save_pretrained(f"{folder}/ema")
    outcome = {"drawn": drawn(pipeline), "losses": training.run(0, f"{folder}/run")}
    (Path(folder) / "outcome.json").write_text(json.dumps(outcome))


if __name__ == "__main__":
    main(*sys.argv[1:])
