"""transformers' Trainer on DeepSpeed (ZeRO 2) trains four steps and saves at the second, or goes on from there.

torchrun deepspeed_trainer_resume.py OUT         OUT/run/checkpoint-2 and checkpoint-4, and OUT/whole.json
torchrun deepspeed_trainer_resume.py OUT JOBS    OUT/resumed.json: what became of each of JOBS, `{"name", "folder"}`

What a run comes to is the loss of each step, and a digest of the weights at the end. The model drops at random. A job
must fail on all ranks or on none.
"""

import hashlib
import json
import sys
from pathlib import Path

import no_compiler  # noqa: F401
import torch
import torch.distributed as dist
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

CONFIG = {
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "bf16": {"enabled": True},
    "zero_optimization": {"stage": 2},
    "zero_allow_untested_optimizer": True,
    "zero_force_ds_cpu_optimizer": False,
}


def trainer(folder):
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=1,
        max_steps=4,
        save_steps=2,
        logging_steps=1,
        optim="adamw_torch",
        deepspeed=dict(CONFIG),
        use_cpu=True,
        bf16=True,
        report_to=[],
        disable_tqdm=True,
        seed=3,
    )
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "vocab_size": 33, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(**sizes, **heads, attention_dropout=0.2))
    tokens = torch.randint(0, 33, (16, 6), generator=torch.Generator().manual_seed(1))
    return Trainer(model, arguments, train_dataset=[{"input_ids": row, "labels": row} for row in tokens])


def outcome(folder, checkpoint=None):
    run = trainer(folder)
    try:
        run.train(resume_from_checkpoint=checkpoint)
    except Exception as error:  # whatever the Trainer makes of it
        return {"error": f"{type(error).__name__}: {error}"[:300]}
    losses = {entry["step"]: entry["loss"] for entry in run.state.log_history if "loss" in entry}
    found = hashlib.sha256()
    for tensor in run.model.state_dict().values():
        found.update(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes())
    return {"losses": losses, "digest": found.hexdigest()}


def main(out, jobs=None):
    out = Path(out)
    if jobs is None:
        found, name = outcome(out / "run"), "whole.json"
    else:
        name, found = "resumed.json", {}
        for job in json.loads(Path(jobs).read_text()):
            found[job["name"]] = outcome(out / job["name"], job["folder"])
    if dist.get_rank() == 0:
        (out / name).write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
