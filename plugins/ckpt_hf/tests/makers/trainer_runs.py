"""transformers' Trainer on a tiny model: trains and saves, or resumes and prints where it went on from.

python trainer_runs.py train OUT     OUT/full and OUT/lora with checkpoint-2, -4 and -6
python trainer_runs.py resume RUN    resumes RUN's newest checkpoint as the Trainer finds it; prints steps and losses
python trainer_runs.py resume RUN CHECKPOINT
"""

import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments


class Samples(torch.utils.data.Dataset):
    def __len__(self):
        return 32

    def __getitem__(self, index):
        ids = torch.randint(0, 64, (8,), generator=torch.Generator().manual_seed(index))
        return {"input_ids": ids, "labels": ids}


def model():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "vocab_size": 64, "num_hidden_layers": 2}
    return LlamaForCausalLM(LlamaConfig(num_attention_heads=2, num_key_value_heads=1, attention_dropout=0.1, **sizes))


def adapted():
    from peft import LoraConfig, get_peft_model

    return get_peft_model(model(), LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))


def trainer(folder, network, callbacks=()):
    arguments = TrainingArguments(
        folder,
        max_steps=6,
        save_steps=2,
        per_device_train_batch_size=4,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        seed=3,
    )
    return Trainer(network, arguments, train_dataset=Samples(), callbacks=list(callbacks))


class Losses(TrainerCallback):
    def __init__(self):
        self.seen = []

    def on_log(self, args, state, control, logs=None, **more):
        if "loss" in logs:
            self.seen.append((state.global_step, logs["loss"]))


def main(job, folder, checkpoint=None):
    if job == "train":
        trainer(f"{folder}/full", model()).train()
        trainer(f"{folder}/lora", adapted()).train()
        return
    losses = Losses()
    network = adapted() if "lora" in folder else model()
    trainer(f"{folder}-resumed", network, [losses]).train(resume_from_checkpoint=checkpoint)
    print("STEPS", [step for step, _ in losses.seen], "LOSSES", [loss for _, loss in losses.seen])


if __name__ == "__main__":
    main(*sys.argv[1:])
