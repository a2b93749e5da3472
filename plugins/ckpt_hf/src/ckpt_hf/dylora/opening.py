"""Opens a checkpoint of DyLoRA-MoE.

Experts, router and the Trainer's state; what a resume would lack is said.
"""

import re
from collections.abc import Iterator
from itertools import count, islice

from ckpt_core import Files, Finding, FormatMatch, LoadRequest, Presence, Profile, Severity, StoredCheckpoint
from ckpt_core.layouts import CheckpointBuilder, component_at
from ckpt_hf.beside_state import add_tokenizer, add_weights, assets_beside
from ckpt_hf.dylora.detection import EXPERTS, ROUTER_STATE, is_state
from ckpt_hf.folders import folders
from ckpt_hf.names import CONFIG, group
from ckpt_hf.trainer.opening import add_training, disagreements, step_in
from ckpt_hf.weights.adapters import add_adapter
from ckpt_hf.weights.single_file import add_file

_ROUTERS = ("router.safetensors", "router.pt", f"{ROUTER_STATE}/router.pt")
_SKILLS = ("skill_library.pt", f"{ROUTER_STATE}/skill_library.pt")
_EXPERT = re.compile(rf"{EXPERTS}/expert_(\d{{1,6}})(?:\.pt|/(?:expert_\1/)?adapter_(?:config\.json|model\..+))")

_SHOWN = 64
"""Missing experts that have a line each; a config may claim any number, and the rest are counted."""

_DELETED = "the run deletes the model's weights after each save, and the Trainer resumes from nothing else"
_ELSEWHERE = "this is the router of the experts beside it, in best_model or checkpoint-N"


def read(files: Files, match: FormatMatch, request: LoadRequest) -> StoredCheckpoint:
    """Read experts, router and the Trainer's state.

    What the Trainer would need to resume is said.
    """
    builder = CheckpointBuilder(files)
    top = next(iter(folders(files)))
    config = builder.json_component("config", CONFIG) or {}
    rows = _add_router(builder)
    skills = next((path for path in _SKILLS if path in files.entries), None)
    if skills is not None:
        builder.torch_component("model", skills, name="skill_library")
    if is_state(top):
        builder.role("model", Presence.ABSENT, note=_ELSEWHERE, needed_for=Profile.INFERENCE)
        return builder.checkpoint(match)
    _add_experts(builder, _said(config), rows)
    if group(top.files):
        add_weights(builder)
    else:
        builder.role("model", Presence.ABSENT, "model.safetensors", _DELETED, needed_for=Profile.RESUME)
    step = step_in(add_training(builder))
    if step is None:
        step = step_in({"global_step": config.get("_dylora_checkpoint_step")})
    builder.findings += disagreements(match, step)
    add_tokenizer(builder)
    base = config.get("base_model_name_or_path")
    taken = {role.where for role in builder.roles}
    assets = [asset for asset in assets_beside(files) if asset.path not in taken]
    return builder.checkpoint(match, step=step, assets=assets, metadata={"base_model": base} if base else {})


def _said(config: dict[str, object]) -> int | None:
    """Return the number of experts in the config."""
    for key in ("num_experts", "_dylora_num_experts"):
        value = config.get(key)
        if type(value) is int and value >= 0:
            return value
    return None


def _add_router(builder: CheckpointBuilder) -> int | None:
    """Add the router; return its number of experts.

    None where the number cannot be told.
    """
    path = next((path for path in _ROUTERS if path in builder.files.entries), None)
    if path is None:
        builder.role("model", Presence.ABSENT, _ROUTERS[0], name="router", needed_for=Profile.INFERENCE)
        return None
    if path == _ROUTERS[0]:
        add_file(builder, "model", path, "router")
    else:
        builder.tried("model", path, lambda: _read_router(builder, path), name="router", needed_for=Profile.INFERENCE)
    router = next((component for component in builder.components if component.label == "model:router"), None)
    shapes = [] if router is None else [o.shape for name, o in router.tensors.infos() if name.endswith("weight")]
    return shapes[0][0] if len(shapes) == 1 and shapes[0] else None


def _read_router(builder: CheckpointBuilder, path: str) -> None:
    """Read the weights of the gate.

    What else its `save` keeps is no weight: sizes, and which experts are mature.
    """
    file = builder.torch(path)
    assert file is not None
    root, key = file.root, "gate_state_dict"
    if not isinstance(root, dict) or key not in root:
        builder.add(component_at("model", "router", file.tensors, root, ""), path)
        return
    builder.add(component_at("model", "router", file.tensors, root[key], key), path)
    rest = {name: value for name, value in root.items() if name != key}
    builder.components.append(component_at("progress", "router", file.tensors, rest, ""))


def _add_experts(builder: CheckpointBuilder, said: int | None, rows: int | None) -> None:
    present = {int(known[1]) for path in builder.files.entries if (known := _EXPERT.fullmatch(path))}
    expected = next((number for number in (said, rows) if number is not None), max(present, default=-1) + 1)
    for number in sorted(present):
        _add_expert(builder, number)
    missing = expected - len([number for number in present if number < expected])
    for number in islice((number for number in count() if number not in present), min(missing, _SHOWN)):
        path = f"{EXPERTS}/expert_{number}"
        builder.role("adapter", Presence.ABSENT, path, name=f"expert_{number}", needed_for=Profile.INFERENCE)
    if missing > _SHOWN:
        note = f"{missing - _SHOWN} more experts of {expected}"
        builder.role("adapter", Presence.ABSENT, note=note, name="others", needed_for=Profile.INFERENCE)
    builder.findings += _counts(present, said, rows)


def _add_expert(builder: CheckpointBuilder, number: int) -> None:
    name = f"expert_{number}"
    path = f"{EXPERTS}/{name}"
    if f"{path}.pt" in builder.files.entries:
        add_file(builder, "adapter", f"{path}.pt", name)
        return
    # PEFT adds a folder of the adapter's name to the one that it is told to save to.
    doubled = any(entry.startswith(f"{path}/{name}/") for entry in builder.files.entries)
    add_adapter(builder, f"{path}/{name}/" if doubled else f"{path}/", name)


def _counts(counts: set[int], said: int | None, rows: int | None) -> Iterator[Finding]:
    if said is not None and max(counts, default=-1) >= said:
        message = f"{EXPERTS}: expert_{max(counts)}, where {CONFIG} says that there are {said} experts"
        yield Finding("HT013", Severity.WARNING, message, CONFIG, hint="files of two saves were mixed")
    if said is not None and rows is not None and rows != said:
        message = f"{CONFIG}: says {said} experts, the router chooses among {rows}"
        yield Finding("HT013", Severity.WARNING, message, CONFIG, hint="files of two saves were mixed")
