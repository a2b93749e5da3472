"""A small whole checkpoint of every layout that is a directory, as bytes by file, in the order its writer writes them.

Made by torch's and safetensors' own writers under the names and keys of the tools that the plugins' sources name; what
those tools themselves write is read in the plugins' own tests.
"""

import tempfile
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.integration.bad_input.trained_parts import (
    RANKS,
    as_json,
    dcp_files,
    optimizer_state,
    random_state,
    rank_files,
    safetensors_of,
    saved,
    scheduler_state,
    weights,
)


@dataclass(frozen=True, slots=True)
class Layout:
    """A whole checkpoint.

    Attributes:
        format: The format that it is of.
        folder: The name of its directory.
        files: Content by path, in the order of writing.
        weights: What the names of the files that its weights cannot do without begin with.
        component: What a conversion takes of it.
        resumes: Whether it holds all that a training needs to go on.
        optional: Files without which a training goes on too: nothing tells that they were there.
        whole_after: Numbers of files after which what is written so far is a whole checkpoint of another kind.
    """

    format: str
    folder: str
    files: Mapping[str, bytes]
    weights: tuple[str, ...]
    component: str = "model"
    resumes: bool = False
    optional: frozenset[str] = frozenset()
    whole_after: frozenset[int] = frozenset()

    def needs(self, path: str) -> bool:
        """Whether the weights cannot do without a file."""
        return path.startswith(self.weights)

    def write(self, place: Path, files: Iterable[str]) -> Path:
        """Some of its files, in a new directory of its own name in `place`."""
        folder = place / self.folder
        folder.mkdir()
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(self.files[name])
        return folder


@cache
def layout(format: str) -> Layout:
    """The whole checkpoint of a format; made once a process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of what it is asked to do without a process group
        return _MAKERS[format]()


CONFIG = as_json({"architectures": ["Net"], "model_type": "llama", "hidden_size": 5})
TOKENIZER = as_json({"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}})

_UNNEEDED = frozenset(("config.json", "training_args.bin", "rng_state.pth"))
"""What transformers' Trainer writes and does without, where the program has made the model: random numbers differ."""


def _hf() -> Layout:
    (first, up), (second, bias) = weights().items()
    shards = {first: "model-00001-of-00002.safetensors", second: "model-00002-of-00002.safetensors"}
    files = {
        "config.json": CONFIG,
        "generation_config.json": as_json({"eos_token_id": 2}),
        shards[first]: safetensors_of({first: up}),
        shards[second]: safetensors_of({second: bias}),
        "model.safetensors.index.json": as_json({"metadata": {"total_size": 72}, "weight_map": shards}),
        "tokenizer.json": TOKENIZER,
    }
    return Layout("hf", "model", files, ("model-",))


def _trainer() -> Layout:
    from argparse import Namespace

    history = [{"loss": 1.5, "step": 4, "epoch": 0.5, "grad_norm": float("nan")}]
    files = {
        "config.json": CONFIG,
        "model.safetensors": safetensors_of(weights()),
        "training_args.bin": saved(Namespace(fp16=False, seed=3)),
        "optimizer.pt": saved(optimizer_state()),
        "scheduler.pt": saved(scheduler_state()),
        "rng_state.pth": saved(random_state()),
        "trainer_state.json": as_json({"global_step": 4, "epoch": 0.5, "log_history": history}),
    }
    return Layout("hf-trainer", "checkpoint-4", files, ("model",), resumes=True, optional=_UNNEEDED)


def _accelerate() -> Layout:
    files = {
        "model.safetensors": safetensors_of(weights()),
        "optimizer.bin": saved(optimizer_state()),
        "scheduler.bin": saved(scheduler_state()),
        "sampler.bin": saved({"epoch": 0, "seed": 3}),
        "custom_checkpoint_0.pkl": saved({"step": 4}),
        "random_states_0.pkl": saved({"step": 4, "random_state": random_state()["python"]}),
    }
    unneeded = frozenset(("random_states_0.pkl", "sampler.bin", "custom_checkpoint_0.pkl"))
    return Layout("accelerate", "checkpoint_0", files, ("model",), resumes=True, optional=unneeded)


def _adapter(below: str = "") -> dict[str, bytes]:
    import torch

    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    factors = {name.format("A"): torch.ones(2, 5), name.format("B"): torch.ones(3, 2)}
    config = {"peft_type": "LORA", "r": 2, "base_model_name_or_path": "example/tiny", "target_modules": ["q_proj"]}
    return {
        f"{below}adapter_model.safetensors": safetensors_of(factors),
        f"{below}adapter_config.json": as_json(config),
    }


def _peft() -> Layout:
    return Layout("peft", "adapter", _adapter(), ("adapter_model",), "adapter")


def _diffusers() -> Layout:
    index = {
        "_class_name": "DDPMPipeline",
        "_diffusers_version": "0.35.0",
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    }
    files = {
        "unet/config.json": as_json({"_class_name": "UNet2DModel", "sample_size": 8}),
        "unet/diffusion_pytorch_model.safetensors": safetensors_of(weights()),
        "scheduler/scheduler_config.json": as_json({"_class_name": "DDPMScheduler", "num_train_timesteps": 4}),
        "model_index.json": as_json(index),
    }
    return Layout("diffusers", "pipeline", files, ("unet/diff",), "model:unet")


def _training_state() -> Layout:
    states = {"python_rng_state": random_state()["python"], "torch_rng_state": random_state()["cpu"]}
    state = {"global_step": 1000, "epoch": 1, "best_loss": 1.5, "optimizer_state_dict": optimizer_state()}
    state |= {"scheduler_state_dict": scheduler_state(), "rng_states": states}
    files = {
        "config.json": CONFIG,
        "model.safetensors": safetensors_of(weights()),
        "training_state.pt": saved(state),
    }
    return Layout("training-state", "checkpoint-1000", files, ("model",), resumes=True)


def _dylora() -> Layout:
    import torch

    config = {"model_type": "dylora-moe", "_dylora_format": "peft_separated", "_dylora_checkpoint_step": 4}
    config |= {"base_model_name_or_path": "example/tiny", "num_experts": 2}
    trainers = {name: data for name, data in layout("hf-trainer").files.items() if name != "config.json"}
    files = {
        **trainers,
        **_adapter("peft_adapters/expert_0/expert_0/"),
        **_adapter("peft_adapters/expert_1/expert_1/"),
        "router.safetensors": safetensors_of({"gate.weight": torch.ones(2, 4), "gate.bias": torch.ones(2)}),
        "config.json": as_json(config),
    }
    expert = "peft_adapters/expert_0/expert_0/adapter_model"
    alone = frozenset((len(trainers),))
    return Layout(
        "dylora", "checkpoint-4", files, (expert,), "adapter:expert_0", True, optional=_UNNEEDED, whole_after=alone
    )


def _dcp() -> Layout:
    state = {"model": weights(), "optimizer": optimizer_state(), "scheduler": scheduler_state(), "step": 4}
    return Layout("dcp", "step-4", dcp_files(state), ("__", ".metadata"), resumes=True)


def _dcp_safetensors() -> Layout:
    import torch.distributed.checkpoint as dcp

    with tempfile.TemporaryDirectory() as folder:
        spread = dict(zip(weights(), (1, 2), strict=True))
        writer = dcp.HuggingFaceStorageWriter(folder, save_distributed=True, fqn_to_index_mapping=spread)
        dcp.save(weights(), storage_writer=writer, no_dist=True)
        files = {path.name: path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}
    return Layout("dcp-safetensors", "shards", files, ("shard",))


def _fsdp() -> Layout:
    files = {
        **dcp_files({"model": weights()}, "pytorch_model_fsdp_0/"),
        **dcp_files({"optimizer": optimizer_state()}, "optimizer_0/"),
        "scheduler.bin": saved(scheduler_state()),
        "custom_checkpoint_0.pkl": saved({"step": 4}),
        "random_states_0.pkl": saved({"step": 4, **random_state()}),
    }
    return Layout(
        "fsdp",
        "checkpoint_0",
        files,
        ("pytorch_model_fsdp_0/",),
        resumes=True,
        optional=frozenset(("random_states_0.pkl", "custom_checkpoint_0.pkl")),
    )


def _fsdp_ranks() -> Layout:
    files = rank_files(lambda rank: f"model_world_size_{RANKS}_rank_{rank}.pt")
    files |= rank_files(lambda rank: f"optim_world_size_{RANKS}_rank_{rank}.pt", optimizer_state)
    extra = saved({"lr_scheduler": scheduler_state(), "rng": random_state()})
    files |= {f"extra_state_world_size_{RANKS}_rank_{rank}.pt": extra for rank in range(RANKS)}
    files["fsdp_config.json"] = as_json({"FSDP_version": 2, "world_size": RANKS})
    return Layout(
        "fsdp-ranks", "global_step_4", files, ("model_",), resumes=True, optional=frozenset(("fsdp_config.json",))
    )


def _lightning() -> Layout:
    model = dcp_files({"state_dict": weights(), "optimizer_0": optimizer_state()})
    meta = {"epoch": 0, "global_step": 4, "pytorch-lightning_version": "2.6.0", "lr_schedulers": [scheduler_state()]}
    meta["loops"] = {"fit_loop": {"epoch_progress": {"total": {"ready": 1}}, "epoch_loop.state_dict": {}}}
    return Layout(
        "lightning-fsdp", "epoch=0-step=4.ckpt", {**model, "meta.pt": saved(meta)}, ("__", ".metadata"), resumes=True
    )


def _deepspeed() -> Layout:
    import torch

    flat = torch.cat([tensor.flatten() for tensor in weights().values()])
    shapes = {name: tensor.shape for name, tensor in weights().items()}
    config = {"zero_optimization": {"stage": 2}, "train_micro_batch_size_per_gpu": 1}
    states = {"module": {name: t.bfloat16() for name, t in weights().items()}, "buffer_names": [], "optimizer": None}
    states |= {"param_shapes": [shapes], "shared_params": {}, "frozen_param_shapes": None, "ds_config": config}
    states |= {"dp_world_size": RANKS, "mp_world_size": 1, "global_steps": 4, "lr_scheduler": scheduler_state()}
    files = {"mp_rank_00_model_states.pt": saved({**states, "ds_version": "0.17.0", "rng_state": random_state()})}
    for rank, part in enumerate(map(torch.clone, flat.chunk(RANKS))):
        base = {"state": {0: {"step": 4, "exp_avg": part, "exp_avg_sq": part}}, "param_groups": [{"params": [0]}]}
        own = {"zero_stage": 2, "partition_count": [RANKS], "group_paddings": [0], "loss_scaler": None}
        own |= {"single_partition_of_fp32_groups": [part], "base_optimizer_state": base, "ds_version": "0.17.0"}
        name = f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
        files[name] = saved({"optimizer_state_dict": own, "ds_config": config, "ds_version": "0.17.0"})
    named = {f"global_step4/{name}": content for name, content in files.items()}
    return Layout("deepspeed", "run", {**named, "latest": b"global_step4"}, ("global_step4/",), resumes=True)


def _bagel() -> Layout:
    facts = {"checkpoint_type": "sharded", "train_steps": 400, "world_size": RANKS, "has_ema": True}
    facts |= {"has_scheduler": True, "has_data_status": True}
    files = {
        "metadata.json": as_json(facts),
        **rank_files(lambda rank: f"model_rank{rank:05d}.pt"),
        **rank_files(lambda rank: f"ema_rank{rank:05d}.pt", lambda: weights(value=2.0)),
        **{f"optimizer_rank{rank:05d}.pt": saved(optimizer_state()) for rank in range(RANKS)},
        "scheduler.pt": saved(scheduler_state()),
        "data_status.pt": saved([{"t2i": {0: [rank, 3, 17]}} for rank in range(RANKS)]),
    }
    return Layout("bagel", "0000400", files, ("model_",), resumes=True, optional=frozenset(("metadata.json",)))


def _minillm() -> Layout:
    return Layout("minillm", "out", {"pretrain_512.pth": saved(weights("model."))}, ("pretrain",))


def _minillm_resume() -> Layout:
    optimizer = optimizer_state()
    optimizer["param_groups"][0]["initial_lr"] = 0.1  # what a schedule leaves, which is not there
    state = {"model": weights("model."), "optimizer": optimizer, "epoch": 0, "step": 4, "world_size": 1}
    files = {"pretrain_512_resume.pth": saved({**state, "wandb_id": None})}
    return Layout("minillm-resume", "checkpoints", files, ("pretrain",))


_MAKERS = {
    "hf": _hf,
    "hf-trainer": _trainer,
    "accelerate": _accelerate,
    "peft": _peft,
    "diffusers": _diffusers,
    "training-state": _training_state,
    "dylora": _dylora,
    "dcp": _dcp,
    "dcp-safetensors": _dcp_safetensors,
    "fsdp": _fsdp,
    "fsdp-ranks": _fsdp_ranks,
    "lightning-fsdp": _lightning,
    "deepspeed": _deepspeed,
    "bagel": _bagel,
    "minillm": _minillm,
    "minillm-resume": _minillm_resume,
}

LAYOUTS = tuple(_MAKERS)
"""Names of their formats."""
