"""Files as minimind's trainers write them, and a process that no variable of the machine leaks into."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "examples" / "minillm"))

VARIABLES = (
    "MINILLM_PRETRAINED_PATH",
    "MINILLM_REMOTE_DIR",
    "MODEL_HIDDEN_SIZE",
    "MODEL_NUM_LAYERS",
    "OUT_DIR",
    "USE_MOE",
)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch, tmp_path):
    """No MiniLLM variable is set, and the working directory is the test's own."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)


class Minimind:
    """A tiny model's tensors, and minimind's own ways of writing them."""

    def tensors(self, *, hidden=16, layers=2, vocab=32, moe=False, qk_norm=True, shared=0, lora=0):
        """fp32 tensors under minimind's names; `shared` older shared experts, `lora` a rank."""
        import torch

        make = torch.Generator().manual_seed(hidden * 1000 + layers)

        def rand(*shape):
            return torch.randn(*shape, generator=make)

        found = {"model.embed_tokens.weight": rand(vocab, hidden)}
        for layer in range(layers):
            at = f"model.layers.{layer}"
            for part in "qkvo":
                found[f"{at}.self_attn.{part}_proj.weight"] = rand(hidden, hidden)
            if qk_norm:
                found[f"{at}.self_attn.q_norm.weight"] = rand(hidden // 2)
                found[f"{at}.self_attn.k_norm.weight"] = rand(hidden // 2)
            found[f"{at}.input_layernorm.weight"] = rand(hidden)
            found[f"{at}.post_attention_layernorm.weight"] = rand(hidden)
            experts = [f"{at}.mlp.experts.{e}" for e in range(4)] + [
                f"{at}.mlp.shared_experts.{n}" for n in range(shared)
            ]
            if moe:
                found[f"{at}.mlp.gate.weight"] = rand(4, hidden)
            for mlp in experts if moe else [f"{at}.mlp"]:
                found[f"{mlp}.gate_proj.weight"] = rand(24, hidden)
                found[f"{mlp}.up_proj.weight"] = rand(24, hidden)
                found[f"{mlp}.down_proj.weight"] = rand(hidden, 24)
            if lora:
                found[f"{at}.self_attn.q_proj.lora.A.weight"] = rand(lora, hidden)
                found[f"{at}.self_attn.q_proj.lora.B.weight"] = rand(hidden, lora)
        found["model.norm.weight"] = rand(hidden)
        found["lm_head.weight"] = found["model.embed_tokens.weight"]
        return found

    def save(self, path, tensors: Mapping | None = None):
        """As every trainer writes plain weights: a flat dict, halved, on the CPU, straight to its name."""
        import torch

        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({key: value.half().cpu() for key, value in (tensors or self.tensors()).items()}, path)
        return path

    def save_and_rename(self, path, tensors: Mapping | None = None):
        """As `lm_checkpoint` writes them: to `.tmp`, then renamed, so that the archive keeps the old name inside."""
        self.save(f"{path}.tmp", tensors).rename(path)
        return Path(path)

    def save_resume(self, path, tensors: Mapping | None = None, **more):
        """As `lm_checkpoint` writes what a trainer resumes from; `more` stands beside it, or in its place."""
        import torch

        model = {key: value.half().cpu() for key, value in (tensors or self.tensors()).items()}
        parameter = torch.nn.Parameter(torch.ones(3))
        optimizer = torch.optim.AdamW([parameter])
        parameter.sum().backward()
        optimizer.step()
        state = {
            "model": model,
            "optimizer": optimizer.state_dict(),
            "epoch": 0,
            "step": 7,
            "world_size": 1,
            "wandb_id": None,
            "scaler": {},
            **more,
        }
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, path)
        return Path(path)

    def model(self, *, seed=0, **how):
        """A tiny model that computes, with minimind's names; its weights are random, others for another seed."""
        return _model(self.tensors(**how), seed)

    def lm_checkpoint(
        self, hidden, weight, model=None, optimizer=None, epoch=0, step=0, *, moe=False, world_size=1, half=True, **more
    ):
        """What minimind's function of that name does, saving with a model and loading without one.

        `trainer/trainer_utils.py` of minimind; `half=False` is how it was before December 2025.
        """
        import torch

        stem = f"checkpoints/{weight}_{hidden}{'_moe' if moe else ''}"
        if model is None:
            if not os.path.exists(f"{stem}_resume.pth"):
                return None
            found = torch.load(f"{stem}_resume.pth", map_location="cpu")
            saved = found.get("world_size", 1)
            if saved != world_size:
                found["step"] = found["step"] * saved // world_size
            return found
        os.makedirs("checkpoints", exist_ok=True)
        full = model.state_dict()
        halved = {key: value.half().cpu() for key, value in full.items()}
        torch.save(halved, f"{stem}.pth.tmp")
        os.replace(f"{stem}.pth.tmp", f"{stem}.pth")
        state = {
            "model": halved if half else full,
            "optimizer": optimizer.state_dict(),
            "epoch": epoch,
            "step": step,
            "world_size": world_size,
            "wandb_id": None,
        }
        for key, value in more.items():
            if value is not None:
                state[key] = value.state_dict() if hasattr(value, "state_dict") else value
        torch.save(state, f"{stem}_resume.pth.tmp")
        os.replace(f"{stem}_resume.pth.tmp", f"{stem}_resume.pth")
        return None


def _model(tensors, seed):
    """A module that holds these names, and predicts a token from the one before with every one of them."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    root = nn.Module()
    for name, tensor in tensors.items():
        at = root
        *folders, leaf = name.split(".")
        for folder in folders:
            if not hasattr(at, folder):
                at.add_module(folder, nn.Module())
            at = getattr(at, folder)
        at.register_parameter(leaf, nn.Parameter(torch.randn(tensor.shape) * 0.1))
    root.lm_head.weight = root.model.embed_tokens.weight

    def forward(tokens):
        hidden = nn.functional.embedding(tokens, root.model.embed_tokens.weight)
        for name, weight in root.named_parameters():
            if "layers" in name and weight.shape == (hidden.shape[-1],) * 2:
                hidden = hidden + torch.tanh(hidden @ weight.T)
        return (hidden * root.model.norm.weight) @ root.lm_head.weight.T

    root.forward = forward
    return root


@pytest.fixture
def minimind():
    return Minimind()
