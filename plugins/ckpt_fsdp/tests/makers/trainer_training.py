"""transformers' Trainer under FSDP2 on CPU ranks: trains and saves, or resumes and goes on.

trainer_training.py OUT train                       OUT/sharded, OUT/full, OUT/lora, OUT/full-lora: checkpoint-2, -4 and
                                                    -6, by the kind of state dict, the last two with an adapter;
                                                    OUT/final.json
trainer_training.py OUT resume KIND=CHECKPOINT…     OUT/outcomes.json: by name what the run came to, or how it failed
"""

import json
import sys
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from resumed_runs import Notes, digest_of
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

STEPS, EVERY = 6, 2


def take_fsdp_on_cpu():
    """Accelerate takes FSDP for GPUs and their like alone; told so, all of its own code runs on CPU ranks too."""
    stock = AcceleratorState.__init__

    def told(self, *args, fsdp_plugin=None, **more):
        stock(self, *args, fsdp_plugin=fsdp_plugin, **more)
        if fsdp_plugin is not None:
            self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
            self.fsdp_plugin = fsdp_plugin

    AcceleratorState.__init__ = told


class Losses(TrainerCallback):
    def __init__(self):
        self.seen = {}

    def on_log(self, args, state, control, logs=None, **more):
        if "loss" in logs:
            self.seen[state.global_step] = logs["loss"]


class Samples(torch.utils.data.Dataset):
    def __len__(self):
        return 32

    def __getitem__(self, index):
        ids = torch.randint(0, 33, (6,), generator=torch.Generator().manual_seed(index))
        return {"input_ids": ids, "labels": ids}


def network(kind):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "vocab_size": 33, "num_hidden_layers": 2}
    model = LlamaForCausalLM(LlamaConfig(num_attention_heads=2, num_key_value_heads=1, attention_dropout=0.1, **sizes))
    if "lora" not in kind:
        return model
    from peft import LoraConfig, get_peft_model

    return get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))


def run(folder, kind, checkpoint=None):
    AcceleratorState._reset_state(True)
    arguments = TrainingArguments(
        str(folder),
        max_steps=STEPS,
        save_steps=EVERY,
        save_strategy="no" if checkpoint else "steps",
        per_device_train_batch_size=2,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        seed=3,
        fsdp=True,
        fsdp_config={"version": 2, "state_dict_type": f"{'FULL' if kind.startswith('full') else 'SHARDED'}_STATE_DICT"},
    )
    losses = Losses()
    trainer = Trainer(network(kind), arguments, train_dataset=Samples(), callbacks=[losses])
    trainer.train(resume_from_checkpoint=checkpoint)
    seen = [losses.seen.get(step) for step in (STEPS - 1, STEPS)]
    return {"digest": digest_of(trainer.model.state_dict()), "losses": seen, "step": trainer.state.global_step}


def main(out, job, *attempts):
    out = Path(out)
    take_fsdp_on_cpu()
    if job == "train":
        outcome = {kind: run(out / kind, kind) for kind in ("sharded", "full", "lora", "full-lora")}
        if dist.get_rank() == 0:
            (out / "final.json").write_text(json.dumps(outcome))
    Notes(out / "outcomes.json").attempt_each(attempts, partial(run, out / "resumed"))


if __name__ == "__main__":
    main(*sys.argv[1:])
