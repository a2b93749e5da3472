"""Tiny random models that transformers, peft and diffusers save: one folder each.

python lawful_models.py save OUT       OUT/{llama,gpt2,…}: models, adapters, a pipeline's component
"""

import sys

import torch
import transformers as t
from diffusers import UNet2DConditionModel
from peft import IA3Config, LoraConfig, PromptTuningConfig, get_peft_model

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
LLAMA = {**SMALL, "vocab_size": 64, "num_key_value_heads": 2}
VISION = {**SMALL, "image_size": 8, "patch_size": 4}


def llama(**more):
    return t.LlamaForCausalLM(t.LlamaConfig(**LLAMA, **more))


def models():
    """Each model by the name of its folder."""
    yield "llama", llama()
    yield "tied", llama(tie_word_embeddings=True)
    yield "gpt2", t.GPT2LMHeadModel(t.GPT2Config(n_embd=16, n_layer=3, n_head=4, vocab_size=64))
    yield "bert", t.BertForSequenceClassification(t.BertConfig(**SMALL, vocab_size=64))
    yield "encoder", t.BertModel(t.BertConfig(**SMALL, vocab_size=64))
    sizes = {"d_model": 16, "d_ff": 32, "d_kv": 4, "num_heads": 4, "num_layers": 3, "vocab_size": 64}
    yield "t5", t.T5ForConditionalGeneration(t.T5Config(**sizes))
    yield "clip", t.CLIPModel(t.CLIPConfig(text_config={**SMALL, "vocab_size": 64}, vision_config=VISION))
    vision = {**VISION, "model_type": "clip_vision_model"}
    text = {**LLAMA, "model_type": "llama"}
    yield "llava", t.LlavaForConditionalGeneration(t.LlavaConfig(vision_config=vision, text_config=text))
    yield "mixtral", t.MixtralForCausalLM(t.MixtralConfig(**LLAMA, num_local_experts=4))
    yield "qwen2", t.Qwen2ForCausalLM(t.Qwen2Config(**LLAMA))
    yield "vit", t.ViTForImageClassification(t.ViTConfig(**VISION))
    yield (
        "opt",
        t.OPTForCausalLM(
            t.OPTConfig(
                hidden_size=16,
                ffn_dim=32,
                num_hidden_layers=3,
                num_attention_heads=4,
                vocab_size=64,
                word_embed_proj_dim=16,
            )
        ),
    )
    yield "bloom", t.BloomForCausalLM(t.BloomConfig(hidden_size=16, n_layer=3, n_head=4, vocab_size=64))
    yield "neox", t.GPTNeoXForCausalLM(t.GPTNeoXConfig(**SMALL, vocab_size=64))
    yield "mamba", t.MambaForCausalLM(t.MambaConfig(hidden_size=16, num_hidden_layers=3, vocab_size=64, state_size=4))
    channels = {"block_out_channels": (4, 8), "layers_per_block": 1, "norm_num_groups": 2, "cross_attention_dim": 8}
    blocks = {
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }
    yield "unet", UNet2DConditionModel(**channels, **blocks, attention_head_dim=2)


def adapters():
    """Each adapter by the name of its folder."""
    q = {"r": 2, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False, "task_type": "CAUSAL_LM"}
    yield "lora", LoraConfig(**q)
    yield "dora", LoraConfig(**q, use_dora=True)
    yield "patterns", LoraConfig(**q, rank_pattern={"v_proj": 4}, alpha_pattern={"v_proj": 8})
    yield "some-layers", LoraConfig(**q, layers_to_transform=[0, 2])
    yield "everything", LoraConfig(**{**q, "target_modules": "all-linear"}, modules_to_save=["lm_head"])
    yield "tokens", LoraConfig(**q, trainable_token_indices={"embed_tokens": [1, 2]})
    yield "embedding", LoraConfig(**{**q, "target_modules": ["embed_tokens", "q_proj"]})
    yield (
        "ia3",
        IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"),
    )
    yield "prompt", PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")


def main(_, out):
    torch.manual_seed(0)
    for name, model in models():
        model.save_pretrained(f"{out}/{name}")
    for name, config in adapters():
        base = llama()
        base.name_or_path = f"{out}/llama"
        get_peft_model(base, config).save_pretrained(f"{out}/{name}")


if __name__ == "__main__":
    main(*sys.argv[1:])
