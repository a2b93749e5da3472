"""Train a small odd-sized model with DeepSpeed and save it at several stages: `torchrun deepspeed_save.py OUT [CASE…]`.

Each case gets a folder: `ds` as DeepSpeed wrote it, with two tags, and beside it, for the tests, of the last tag:
`oracle.pt` (DeepSpeed's own consolidated weights), `moments.pt` (the optimizer's state as DeepSpeed's own calls gather
it), `module.pt` (the weights that the module ran with, of stages that keep them whole), and `universal`, what its own
converter makes of it. `after.pt` is what the same run had one step later, which it did not save.
"""

import sys
from argparse import Namespace
from pathlib import Path

import deepspeed
import no_compiler  # noqa: F401
import torch
import torch.distributed as dist
from deepspeed.checkpoint.ds_to_universal import main as to_universal
from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state
from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

BF16 = {"bf16": {"enabled": True}}
FP32_GRADIENTS = {"data_types": {"grad_accum_dtype": "fp32"}}
CASES = {
    "stage0-fp32": {},
    "stage0-bf16": BF16,
    "stage1-fp32": {"zero_optimization": {"stage": 1}},
    "stage1-bf16": {**BF16, **FP32_GRADIENTS, "zero_optimization": {"stage": 1}},
    "stage1-lean": {**BF16, "zero_optimization": {"stage": 1, "elastic_checkpoint": True}},
    "stage2-bf16": {**BF16, "zero_optimization": {"stage": 2}},
    "stage2-aligned": {**BF16, "zero_optimization": {"stage": 2, "parameter_alignment": True}},
    "stage2-round": {**BF16, "zero_optimization": {"stage": 2, "round_robin_gradients": True}},
    "stage3-fp32": {"zero_optimization": {"stage": 3, "sub_group_size": 20}},
    "stage3-bf16": {**BF16, "zero_optimization": {"stage": 3}},
}

NOT_CONSOLIDATED = "stage1-bf16"
"""BF16_Optimizer writes no zero_stage, without which DeepSpeed's own script refuses."""

THIRD = 30
"""What the data of the third step are made of."""

UNIVERSAL = ("stage2-bf16", "stage3-bf16")


class Model(torch.nn.Module):
    """Odd sizes, so that partitions need padding; tied, frozen and scalar parameters, and two buffers."""

    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(11, 5)
        self.conv = torch.nn.Conv1d(5, 3, 3, padding=1)
        self.mix = torch.nn.Linear(3, 7)
        self.frozen = torch.nn.Linear(7, 5, bias=False)
        self.norm = torch.nn.LayerNorm(5)
        self.head = torch.nn.Linear(5, 11, bias=False)
        self.head.weight = self.embed.weight
        self.frozen.weight.requires_grad_(False)
        self.register_buffer("scale", torch.tensor([0.5, 1.25, 3.0]))
        self.register_buffer("count", torch.tensor(7))

    def forward(self, tokens):
        hidden = self.conv(self.embed(tokens).transpose(1, 2)).transpose(1, 2)
        hidden = hidden * self.scale.to(hidden.dtype)
        return self.head(self.norm(self.frozen(self.mix(hidden))))


def parameter_groups(model):
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    return [
        {"params": [p for _, p in trained if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for _, p in trained if p.ndim == 1], "weight_decay": 0.0},
    ]


def train(engine, model, steps, seed):
    generator = torch.Generator().manual_seed(seed + dist.get_rank())
    for _ in range(steps):
        tokens = torch.randint(0, 11, (2, 6), generator=generator)
        loss = engine(tokens).float().square().mean()
        engine.backward(loss)
        engine.step()


def moments(engine):
    """fp32 weights and moments of the trained parameters, gathered by DeepSpeed's own calls; on every rank."""
    if hasattr(engine.optimizer, "_lazy_init_hp_params_optimizer_state"):
        # DeepSpeed links states at the first group's first step, when other groups have none yet: link them again.
        engine.optimizer._hp_optimizer_states_linked = False
        engine.optimizer._lazy_init_hp_params_optimizer_state()
    found = {}
    for name, parameter in engine.module.named_parameters():
        if parameter.requires_grad:
            found[name] = {
                key: safe_get_full_optimizer_state(parameter, key).clone() for key in ("exp_avg", "exp_avg_sq")
            }
            found[name]["fp32"] = safe_get_full_fp32_param(parameter).clone()
    return found


def everything(engine, name):
    """What a step further the run and one that resumed must have in common; on every rank."""
    stage = CASES[name].get("zero_optimization", {}).get("stage", 0)
    found = {"schedule": engine.lr_scheduler.state_dict(), "step": engine.global_steps}
    if stage:
        found["moments"] = moments(engine)
    else:
        found["optimizer"] = engine.optimizer.state_dict()
    if stage < 3:
        found["module"] = {key: tensor.clone() for key, tensor in engine.module.state_dict().items()}
    return found


def start(name, config, seed):
    """The engine and the model of a case, before the first step."""
    torch.manual_seed(seed)
    model = Model()
    if name.endswith("fp32"):
        model = model.float()
    optimizer = torch.optim.AdamW(parameter_groups(model), lr=1e-2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _decay)
    full = {
        "train_micro_batch_size_per_gpu": 2,
        "gradient_accumulation_steps": 1,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        **config,
    }
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, lr_scheduler=schedule, config=full)
    return engine, model


def make(out, name, config):
    engine, model = start(name, config, seed=0)
    folder = out / name
    state = {"epoch": 3, "note": "kept", "rng_state": torch.get_rng_state()}
    train(engine, model, 1, 10)
    engine.save_checkpoint(str(folder / "ds"), client_state=state)
    train(engine, model, 1, 20)
    engine.save_checkpoint(str(folder / "ds"), client_state=state)
    stage = config.get("zero_optimization", {}).get("stage", 0)
    record = moments(engine) if stage else None
    if dist.get_rank() == 0:
        if stage and name != NOT_CONSOLIDATED:
            torch.save(get_fp32_state_dict_from_zero_checkpoint(str(folder / "ds")), folder / "oracle.pt")
        if stage:
            torch.save(record, folder / "moments.pt")
        if stage < 3:
            torch.save({key: t.clone() for key, t in engine.module.state_dict().items()}, folder / "module.pt")
    dist.barrier()
    train(engine, model, 1, THIRD)
    after = everything(engine, name)
    if dist.get_rank() == 0:
        torch.save(after, folder / "after.pt")
    engine.destroy()
    if dist.get_rank() == 0 and name in UNIVERSAL:
        make_universal(folder)


def make_universal(folder):
    last, out = folder / "ds" / "global_step2", folder / "universal" / "global_step2_universal"
    workers = {"num_extract_workers": 1, "num_merge_workers": 1}
    to_universal(
        Namespace(
            input_folder=str(last),
            output_folder=str(out),
            keep_temp_folder=False,
            strict=True,
            inject_missing_state=True,
            **workers,
        )
    )


def _decay(step):
    return 0.9**step


def main():
    out, names = Path(sys.argv[1]), sys.argv[2:] or list(CASES)
    deepspeed.init_distributed("gloo")
    for name in names:
        make(out, name, CASES[name])
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
