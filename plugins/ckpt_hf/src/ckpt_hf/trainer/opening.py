"""Opens a checkpoint of the Trainer.

The weights, and every file of the training state as a component of its own.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from ckpt_core import (
    Files,
    Finding,
    FormatMatch,
    LoadRequest,
    Opaque,
    Part,
    Presence,
    Profile,
    Severity,
    State,
    StoredCheckpoint,
)
from ckpt_core.layouts import CheckpointBuilder
from ckpt_hf.beside_state import add_config, add_tokenizer, add_weights, assets_beside
from ckpt_hf.ranks import add_ranks
from ckpt_hf.trainer import under_deepspeed, under_fsdp
from ckpt_hf.trainer.detection import RNG, STATE

_DATA = "the Trainer skips the batches of global_step; needs the same data and seed"


def read(files: Files, match: FormatMatch, request: LoadRequest) -> StoredCheckpoint:
    """Read the weights and the training state.

    Every file of the state is a component of its own.
    """
    builder = CheckpointBuilder(files)
    sharded = {part.component for part in match.parts}
    apart = any(way.holds_all_weights(files, match.parts) for way in (under_fsdp, under_deepspeed))
    if "model" not in sharded and not apart:
        add_weights(builder, request.options.get("variant"))
    state = add_training(builder, match.parts)
    add_config(builder)
    add_tokenizer(builder)
    step = step_in(state)
    builder.findings += disagreements(match, step)
    return builder.checkpoint(match, step=step, assets=assets_beside(files))


def add_training(builder: CheckpointBuilder, parts: Sequence[Part] = ()) -> dict[str, Any] | None:
    """Add the Trainer's own state except its parts.

    Returns the content of trainer_state.json.
    """
    arguments = _arguments(builder.torch_component("config", "training_args.bin", name="training_args", optional=True))
    fsdp = under_fsdp.places(builder.files, parts, arguments)
    zero = under_deepspeed.is_used(builder.files, parts)
    if zero:
        under_deepspeed.add(builder, parts)
    elif fsdp is not None:
        under_fsdp.add(builder, parts, fsdp)
    elif not any(part.component == "optimizer" for part in parts):
        builder.torch_component("optimizer", "optimizer.pt")
    builder.torch_component("scheduler", "scheduler.pt", optional=zero)
    half = arguments.get("fp16") is True and not zero
    builder.torch_component("scaler", "scaler.pt", optional=not half, needed_for=Profile.RESUME if half else None)
    add_ranks(builder, RNG, alone="rng_state.pth", pattern="rng_state_{}.pth")
    known = len(builder.roles)
    state = builder.json_component("progress", STATE)
    if state is not None and state.get("global_step") is None:
        del builder.roles[known:]
        builder.role("progress", Presence.ABSENT, STATE, "no global_step in it: the Trainer would begin at step 0")
    builder.role("sampler", Presence.DERIVED, STATE, _DATA)
    return state


def _arguments(state: State) -> dict[Any, Any]:
    """Return the fields of TrainingArguments that are plain."""
    inner = state.state if isinstance(state, Opaque) else state
    return inner if isinstance(inner, dict) else {}


def step_in(state: dict[str, Any] | None) -> int | None:
    """Return the step that trainer_state.json records."""
    step = None if state is None else state.get("global_step")
    return step if type(step) is int else None


def disagreements(match: FormatMatch, step: int | None) -> Iterator[Finding]:
    """Yield HT001 where the folder's name has another step.

    Another than the step that is recorded.
    """
    if step is not None and match.step is not None and step != match.step:
        message = f"{STATE}: says step {step}, the folder's name says {match.step}; the content counts"
        hint = "it was renamed, or files of two checkpoints were mixed"
        yield Finding("HT001", Severity.WARNING, message, STATE, hint=hint)
