"""Train a tiny Llama with the Trainer of transformers on DeepSpeed: `torchrun deepspeed_trainer.py OUT STAGE`.

`OUT/checkpoint-2` is as the Trainer wrote it; `OUT/oracle.pt` holds DeepSpeed's own consolidated weights of it.
"""

import sys
from pathlib import Path

import no_compiler  # noqa: F401
import torch
import torch.distributed as dist
from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments


def main():
    out, stage = Path(sys.argv[1]), int(sys.argv[2])
    config = {
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "bf16": {"enabled": True},
        "zero_optimization": {"stage": stage},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }
    arguments = TrainingArguments(
        output_dir=str(out),
        per_device_train_batch_size=1,
        max_steps=2,
        save_steps=2,
        optim="adamw_torch",
        deepspeed=config,
        use_cpu=True,
        bf16=True,
        report_to=[],
        disable_tqdm=True,
    )
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "vocab_size": 33, "num_hidden_layers": 2}
    model = LlamaForCausalLM(
        LlamaConfig(num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True, **sizes)
    )
    tokens = torch.randint(0, 33, (8, 6), generator=torch.Generator().manual_seed(1))
    rows = [{"input_ids": row, "labels": row} for row in tokens]
    Trainer(model, arguments, train_dataset=rows).train()
    if dist.get_rank() == 0:
        torch.save(get_fp32_state_dict_from_zero_checkpoint(str(out / "checkpoint-2")), out / "oracle.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
