"""A MiniLLM: a decoder with rotary positions, grouped heads, optional query and key norms, optional experts.

Its tensors are named as in minimind's models (`model.layers.0.self_attn.q_proj.weight`), so that its files are theirs.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from minillm.tokens import VOCAB_SIZE


@dataclass(frozen=True, slots=True)
class Config:
    """What shapes a model. The defaults, but for the vocabulary, are those of minimind-3."""

    hidden_size: int = 512
    num_hidden_layers: int = 8
    use_moe: bool = False
    vocab_size: int = VOCAB_SIZE
    num_attention_heads: int = 8
    num_key_value_heads: int = 4
    qk_norm: bool = True
    rope_theta: float = 1e6
    rms_norm_eps: float = 1e-6
    num_experts: int = 4
    num_experts_per_tok: int = 1

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def intermediate_size(self) -> int:
        return math.ceil(self.hidden_size * math.pi / 64) * 64


class RMSNorm(nn.Module):
    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return (self.weight * wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).type_as(x)


def rotated(x: Tensor, theta: float) -> Tensor:
    """Queries or keys of shape (batch, heads, tokens, head_dim), turned by their positions, half against half."""
    half = x.shape[-1] // 2
    turns = theta ** (-torch.arange(half, dtype=torch.float32) / half)
    angles = torch.outer(torch.arange(x.shape[-2], dtype=torch.float32), turns)
    cos, sin = (torch.cat((part, part), -1).to(x.dtype) for part in (angles.cos(), angles.sin()))
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


class Attention(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        wide, narrow = (n * config.head_dim for n in (config.num_attention_heads, config.num_key_value_heads))
        self.q_proj = nn.Linear(config.hidden_size, wide, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, narrow, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, narrow, bias=False)
        self.o_proj = nn.Linear(wide, config.hidden_size, bias=False)
        if config.qk_norm:
            self.q_norm = RMSNorm(config.head_dim, config.rms_norm_eps)
            self.k_norm = RMSNorm(config.head_dim, config.rms_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part(x).unflatten(-1, (-1, self.config.head_dim)) for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        if self.config.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        q, k = rotated(q, self.config.rope_theta), rotated(k, self.config.rope_theta)
        found = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.o_proj(found.transpose(1, 2).flatten(-2))


class FeedForward(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Experts(nn.Module):
    """A router and feed-forward layers of which each token sees a few. `balance` is the last batch's auxiliary loss."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.chosen = config.num_experts_per_tok
        self.gate = nn.Linear(config.hidden_size, config.num_experts, bias=False)
        self.experts = nn.ModuleList(FeedForward(config) for _ in range(config.num_experts))
        self.balance: Tensor = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        scores = self.gate(x).softmax(-1)
        weights, indices = scores.topk(self.chosen, -1)
        share = torch.zeros_like(scores).scatter(-1, indices, weights / weights.sum(-1, keepdim=True))
        used = (share > 0).float().flatten(0, -2).mean(0)
        self.balance = (used * scores.flatten(0, -2).mean(0)).sum() * len(self.experts)
        return sum((expert(x) * share[..., i, None] for i, expert in enumerate(self.experts)), torch.zeros_like(x))


class Layer(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = Experts(config) if config.use_moe else FeedForward(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class MiniLLM(nn.Module):
    """Logits of shape (batch, tokens, vocabulary). The head is the embedding."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.lm_head.weight = self.model.embed_tokens.weight
        self.apply(_start)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.lm_head(self.model(tokens))


class Critic(nn.Module):
    """The value of each position, of shape (batch, tokens): a decoder as the actor's, and a head of one output."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.value_head = nn.Linear(config.hidden_size, 1)
        self.apply(_start)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.value_head(self.model(tokens)).squeeze(-1)


def balance_loss(model: nn.Module, weight: float = 5e-4) -> Tensor:
    """The auxiliary loss that keeps experts evenly used; 0 for a dense model."""
    losses = [module.balance for module in model.modules() if isinstance(module, Experts)]
    return weight * torch.stack(losses).sum() if losses else torch.zeros(())


def _start(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
