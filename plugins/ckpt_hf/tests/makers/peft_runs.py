"""PEFT on a tiny model: saves adapters, or loads a directory onto the same base and prints what the model gives.

python peft_runs.py train OUT        OUT/{one,bin,named,selected,experts}, and OUT/outputs.json
python peft_runs.py load FOLDER [NAME]
"""

import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM


def base():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "vocab_size": 64, "num_hidden_layers": 1}
    model = LlamaForCausalLM(LlamaConfig(num_attention_heads=2, num_key_value_heads=1, **sizes))
    model.name_or_path = "example/tiny-llama"
    return model


def config():
    return LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")


def output(model):
    return model(torch.arange(8)[None]).logits.double().abs().sum().item()


def main(job, folder, name="default"):
    if job == "load":
        path = folder if name == "default" else f"{folder}/{name}"
        print("OUTPUT", output(PeftModel.from_pretrained(base(), path, adapter_name=name).eval()))
        return
    model = get_peft_model(base(), config()).eval()
    model.save_pretrained(f"{folder}/one")
    model.save_pretrained(f"{folder}/bin", safe_serialization=False)
    outputs = {"default": output(model)}
    model.add_adapter("style", config())
    model.set_adapter("style")
    outputs["style"] = output(model)
    model.save_pretrained(f"{folder}/named")
    model.save_pretrained(f"{folder}/selected", selected_adapters=["style"])
    for name in ("expert_0", "expert_1"):
        model.add_adapter(name, config())
        model.save_pretrained(f"{folder}/experts/{name}", selected_adapters=[name])
    (Path(folder) / "outputs.json").write_text(json.dumps(outputs))


if __name__ == "__main__":
    main(*sys.argv[1:])
