"""Adds a tag's training state besides weights and moments.

Schedule, loss scale, progress, the caller's own state, the config.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ckpt_core import Component, Finding, Severity, State, TensorTable, printable, tensor_names
from ckpt_fsdp.deepspeed.fields import Fields
from ckpt_fsdp.deepspeed.rank_files import ModelStates
from ckpt_fsdp.deepspeed.state_trees import component_of

_COUNTS = ("global_steps", "global_samples", "skipped_steps", "dp_world_size", "mp_world_size", "ds_version")
_SCALER = ("loss_scaler", "dynamic_loss_scale", "cur_scale", "cur_iter", "overflow", "clip_grad", "last_overflow_iter")
_PARTS = (("scheduler", "lr_scheduler", ""), ("sampler", "data_sampler", ""), ("scheduler", "random_ltd", "random_ltd"))
_OWN_MASTERS = ("fp32_groups", "fp32_groups_flat")

DEEPSPEED = "deepspeed"
"""Name of the config component: DeepSpeed's own, beside a model's."""


def training_components(model: ModelStates, scaling: Fields | None, tag: str, stage: int) -> Iterator[Component]:
    """Yield the training components of a model_states file.

    What an optimizer says of its loss scale is one of them.

    Args:
        model: The model_states.
        scaling: The state dict that has the loss scale; None where there is none.
        tag: Name of the tag directory.
        stage: The ZeRO stage, 0 for none.
    """
    table, values = model.torch.tensors, model.values.values
    for kind, key, name in _PARTS:
        if values.get(key) is not None:
            yield component_of(kind, table, values[key], under=key, name=name)
    if scaling is not None:
        yield from _scaler(scaling, table if stage == 0 else TensorTable.of({}))
    counts = {key: values[key] for key in _COUNTS if values.get(key) is not None}
    yield component_of("progress", table, {"tag": tag, "zero_stage": stage, **counts})
    yield from _client(model.client_state, table)
    if model.config:
        yield component_of("config", table, dict(model.config), name=DEEPSPEED)


def unpartitioned_optimizer(model: ModelStates) -> tuple[Component | None, list[Finding]]:
    """Return the stored optimizer of a run without ZeRO.

    ZE011 where fp32 weights are in it, which have no names.
    """
    state = model.values.values.get("optimizer")
    if not state:
        return None, []
    if not isinstance(state, dict):  # which is no optimizer, as verify says
        return component_of("optimizer", model.torch.tensors, state, under="optimizer"), []
    wrapped = "optimizer_state_dict" in state
    kept = {key: value for key, value in state.items() if not wrapped or key not in _SCALER}
    findings = []
    if any(key in state for key in _OWN_MASTERS):
        message = (
            f"{printable(model.values.path)}: its fp32 weights are in the optimizer, without names; the model here has "
            "those that it ran with"
        )
        findings.append(Finding("ZE011", Severity.INFO, message, model.values.path))
    return component_of("optimizer", model.torch.tensors, kept, under="optimizer"), findings


def scaling_of(model: ModelStates) -> Fields | None:
    """Return the loss scale of a run without ZeRO.

    It is that of DeepSpeed's own fp16 and bf16 optimizers.
    """
    state = model.values.values.get("optimizer")
    return Fields(state, model.values.path) if isinstance(state, dict) and "optimizer_state_dict" in state else None


def _scaler(fields: Fields, table: TensorTable) -> Iterator[Component]:
    kept = {key: fields.values[key] for key in _SCALER if key in fields.values}
    kept = {key: value for key, value in kept.items() if all(name in table for name in tensor_names(value))}
    if kept.keys() - {"clip_grad", "overflow"}:
        yield component_of("scaler", table, kept, under="optimizer")


def _client(state: Mapping[Any, State], table: TensorTable) -> Iterator[Component]:
    """Yield what the caller saved with the checkpoint.

    Generators of random numbers are told by their names.
    """
    random = {key: value for key, value in state.items() if "rng" in str(key).lower()}
    rest = {key: value for key, value in state.items() if key not in random}
    if random:
        yield component_of("rng", table, random)
    if rest:
        yield component_of("progress", table, rest, name="client_state")
