"""A model with the structure of BAGEL, some thousand numbers large: built, published as a base, opened again.

Twins of every text weight for generation (`_moe_gen`), normalised queries and keys, a vision transformer whose patch
embedding is a convolution while it is trained and a linear map where it is published, frozen position tables,
connectors, and an autoencoder in the base that training never touches.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

HIDDEN, WORDS, LAYERS = 16, 24, 2
SEEN, PATCH, CHANNELS, GRID = 12, 2, 3, 4
LATENT = 8
TABLES = ("latent_pos_embed.pos_embed", "vit_pos_embed.pos_embed")
PATCH_EMBEDDING = "vit_model.vision_model.embeddings.patch_embedding.weight"


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        for twin in ("", "_moe_gen"):
            for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
                setattr(self, name + twin, nn.Linear(HIDDEN, HIDDEN, bias=name != "o_proj"))
            for name in ("q_norm", "k_norm"):
                setattr(self, name + twin, nn.RMSNorm(HIDDEN))

    def forward(self, x, twin):
        part = lambda name: getattr(self, name + twin)  # noqa: E731
        queries, keys = part("q_norm")(part("q_proj")(x)), part("k_norm")(part("k_proj")(x))
        return part("o_proj")(torch.softmax(queries @ keys.T, -1) @ part("v_proj")(x))


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.self_attn = Attention()
        for twin in ("", "_moe_gen"):
            mlp = nn.ModuleDict({"up_proj": nn.Linear(HIDDEN, 20), "down_proj": nn.Linear(20, HIDDEN)})
            setattr(self, f"mlp{twin}", mlp)
            setattr(self, f"input_layernorm{twin}", nn.RMSNorm(HIDDEN))
            setattr(self, f"post_attention_layernorm{twin}", nn.RMSNorm(HIDDEN))

    def forward(self, x, twin):
        x = x + self.self_attn(getattr(self, f"input_layernorm{twin}")(x), twin)
        mlp = getattr(self, f"mlp{twin}")
        inner = mlp["up_proj"](getattr(self, f"post_attention_layernorm{twin}")(x))
        return x + mlp["down_proj"](torch.nn.functional.silu(inner))


class LanguageModel(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(WORDS, HIDDEN)
        self.model.layers = nn.ModuleList(Layer() for _ in range(layers))
        self.model.norm, self.model.norm_moe_gen = nn.RMSNorm(HIDDEN), nn.RMSNorm(HIDDEN)
        self.lm_head = nn.Linear(HIDDEN, WORDS, bias=False)

    def forward(self, x, twin):
        for layer in self.model.layers:
            x = layer(x, twin)
        return getattr(self.model, f"norm{twin}")(x)


class Vision(nn.Module):
    def __init__(self, linear):
        super().__init__()
        self.vision_model = nn.Module()
        embeddings = self.vision_model.embeddings = nn.Module()
        flat = PATCH * PATCH * CHANNELS
        conv = nn.Conv2d(CHANNELS, SEEN, PATCH, stride=PATCH)
        embeddings.patch_embedding = nn.Linear(flat, SEEN) if linear else conv
        embeddings.position_embedding = nn.Embedding(GRID * GRID, SEEN)
        self.vision_model.encoder = nn.Module()
        self.vision_model.encoder.layers = nn.ModuleList([nn.Linear(SEEN, SEEN)])
        self.vision_model.post_layernorm = nn.LayerNorm(SEEN)
        self.linear = linear

    def forward(self, image):
        """(channels, height, width) to (patches, SEEN); the linear map takes patches flattened with channels last."""
        embed = self.vision_model.embeddings.patch_embedding
        if self.linear:
            cut = image.unfold(1, PATCH, PATCH).unfold(2, PATCH, PATCH).permute(1, 2, 3, 4, 0)
            x = embed(cut.reshape(-1, PATCH * PATCH * CHANNELS))
        else:
            x = embed(image[None])[0].flatten(1).T
        x = x + self.vision_model.embeddings.position_embedding.weight[: len(x)]
        for layer in self.vision_model.encoder.layers:
            x = x + torch.tanh(layer(x))
        return self.vision_model.post_layernorm(x)


class Table(nn.Module):
    def __init__(self, rows, width):
        super().__init__()
        angles = torch.arange(rows)[:, None] / 10 ** (torch.arange(width // 2) / width)
        self.pos_embed = nn.Parameter(torch.cat([angles.sin(), angles.cos()], 1), requires_grad=False)


class TinyBagel(nn.Module):
    """The whole model. `linear` is how the patch embedding is kept."""

    def __init__(self, *, linear, layers=LAYERS):
        super().__init__()
        self.language_model = LanguageModel(layers)
        self.vit_model = Vision(linear)
        self.connector = nn.ModuleDict({"fc1": nn.Linear(SEEN, HIDDEN), "fc2": nn.Linear(HIDDEN, HIDDEN)})
        self.vit_pos_embed = Table(GRID * GRID, HIDDEN)
        self.latent_pos_embed = Table(GRID, HIDDEN)
        self.vae2llm, self.llm2vae = nn.Linear(LATENT, HIDDEN), nn.Linear(HIDDEN, LATENT)
        self.time_embedder = nn.Module()
        self.time_embedder.mlp = nn.Sequential(nn.Linear(HIDDEN, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN))

    def forward(self, words, image, latents):
        """Logits of the words after the image, and new latents: every weight has its part in them."""
        seen = self.connector["fc2"](torch.tanh(self.connector["fc1"](self.vit_model(image))))
        seen = seen + self.vit_pos_embed.pos_embed[: len(seen)]
        understood = torch.cat([seen, self.language_model.model.embed_tokens(words)])
        logits = self.language_model.lm_head(self.language_model(understood, ""))
        time = self.time_embedder.mlp(understood.mean(0, keepdim=True))
        noisy = self.vae2llm(latents) + time + self.latent_pos_embed.pos_embed[: len(latents)]
        return logits, self.llm2vae(self.language_model(noisy, "_moe_gen"))


def build(seed, *, linear, layers=LAYERS):
    torch.manual_seed(seed)
    model = TinyBagel(linear=linear, layers=layers)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model


def question():
    generator = torch.Generator().manual_seed(7)
    image = torch.randn(CHANNELS, GRID * PATCH, GRID * PATCH, generator=generator)
    return torch.arange(5), image, torch.randn(GRID, LATENT, generator=generator)


def answers(model):
    """What the model says, computed in float32 whatever its weights are kept in."""
    with torch.no_grad():
        return [part.clone() for part in model.float()(*question())]


def publish(folder, *, layers=LAYERS, tables=True, seed=100):
    """A base as BAGEL-7B-MoT is published: averaged weights only, the autoencoder, configs, a tokenizer, an index."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.bfloat16() for name, tensor in build(seed, linear=True, layers=layers).state_dict().items()}
    state = {name: tensor for name, tensor in state.items() if tables or name not in TABLES}
    save_file(state, folder / "ema.safetensors", metadata={"format": "pt"})
    generator = torch.Generator().manual_seed(seed)
    save_file({"encoder.conv_in.weight": torch.randn(4, 3, generator=generator)}, folder / "ae.safetensors")
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(state, "ema.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    configs = {
        "config.json": {"architectures": ["Bagel"], "torch_dtype": "float32"},
        "llm_config.json": {"num_hidden_layers": layers, "qk_norm": True},
        "vit_config.json": {"patch_size": PATCH},
        "generation_config.json": {},
        "tokenizer_config.json": {"model_max_length": 9},
        "tokenizer.json": {"version": "1.0"},
        "vocab.json": {"a": 0},
    }
    for name, content in configs.items():
        (folder / name).write_text(json.dumps(content, indent=3))
    (folder / "merges.txt").write_text("#version: 0.2\na b\n")
    (folder / "README.md").write_text("# A tiny model\n")
    return folder


def open_published(folder, weights):
    """The small loader: a model built after the configs, its weights from one file, every one of them."""
    folder = Path(folder)
    layers = json.loads((folder / "llm_config.json").read_text())["num_hidden_layers"]
    model = TinyBagel(linear=True, layers=layers)
    model.load_state_dict(load_file(folder / weights), strict=True)
    return model
