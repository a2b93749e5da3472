"""The checkpoints of transformers' Trainer: `checkpoint-N` with weights or an adapter, and the state to train on.

Source: transformers `trainer.py` (_save_checkpoint, _save_rng_state, _load_rng_state) and `trainer_callback.py`
(TrainerState). trainer_state.json is written last, so that a save which was stopped lacks it.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from ckpt_core import (
    Confidence,
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
from ckpt_core.codecs.pieces import Pieces
from ckpt_hf.adapters import ADAPTER_CONFIG, ADAPTERS
from ckpt_hf.folders import Folder, folders
from ckpt_hf.names import group, step_of
from ckpt_hf.ranks import add_ranks
from ckpt_hf.weight_pieces import add_config, add_tokenizer, add_weights, assets_beside

NAME = "hf-trainer"

STATE = "trainer_state.json"
_OWN = ("optimizer.pt", "scheduler.pt", "scaler.pt")
_RNG = re.compile(r"rng_state(?:_(\d+))?\.pth")
_FSDP = re.compile(r"(pytorch_model_fsdp|optimizer)_\d+")
_ZERO = re.compile(r"global_step\d+")

_DATA = "the Trainer skips the batches of global_step; needs the same data and seed"


def find(files: Files) -> Iterator[FormatMatch]:
    """A match for each folder that the Trainer has saved to, also for one whose saving was stopped."""
    for folder in folders(files):
        evidence = _evidence(folder)
        if evidence:
            step = step_of(folder.name)
            yield FormatMatch(NAME, Confidence.CERTAIN, evidence, folder.root, step, tuple(_parts(folder)))


def read(files: Files, match: FormatMatch, request: LoadRequest) -> StoredCheckpoint:
    """The weights, and every file of the training state as a component of its own."""
    pieces = Pieces(files)
    sharded = {part.component for part in match.parts}
    if "model" not in sharded:
        add_weights(pieces, request.options.get("variant"))
    state = add_training(pieces, match.parts)
    add_config(pieces)
    add_tokenizer(pieces)
    step = step_in(state)
    pieces.findings += disagreements(match, step)
    return pieces.checkpoint(match, step=step, assets=assets_beside(files))


def add_training(pieces: Pieces, parts: Sequence[Part] = ()) -> dict[str, Any] | None:
    """All of the Trainer's own state but what lies in parts; the content of trainer_state.json."""
    if not any(part.component == "optimizer" for part in parts):
        pieces.torch_component("optimizer", "optimizer.pt")
    zero = any(part.format == "deepspeed" for part in parts)
    pieces.torch_component("scheduler", "scheduler.pt", optional=zero)
    arguments = _arguments(pieces.torch_component("config", "training_args.bin", name="training_args", optional=True))
    half = arguments.get("fp16") is True and not zero
    pieces.torch_component("scaler", "scaler.pt", optional=not half, needed_for=Profile.RESUME if half else None)
    add_ranks(pieces, _RNG, alone="rng_state.pth", pattern="rng_state_{}.pth")
    state = pieces.json_component("progress", STATE)
    pieces.role("sampler", Presence.DERIVED, STATE, _DATA)
    return state


def is_trainers(folder: Folder) -> bool:
    """Whether the Trainer has saved to a folder."""
    return bool(_evidence(folder))


def _is_container(folder: Folder) -> bool:
    """Whether it is the folder of a run, where `Trainer.save_state` leaves the last state and nothing to go with it."""
    own = (*_OWN, *ADAPTERS, ADAPTER_CONFIG)
    if any(name in folder.files for name in own) or group(folder.files):
        return False
    return any(step_of(name) is not None for name in folder.folders)


def _evidence(folder: Folder) -> str:
    if STATE in folder.files:
        return "" if _is_container(folder) else f"{STATE} of transformers' Trainer"
    rng = next((name for name in sorted(folder.files) if _RNG.fullmatch(name)), None)
    saved = next((name for name in _OWN if name in folder.files), None)
    if step_of(folder.name) is not None and "training_args.bin" in folder.files:
        return f"training_args.bin in {folder.name}, without {STATE}, which the Trainer writes last"
    if step_of(folder.name) is not None and rng and saved:
        return f"{saved} and {rng} in {folder.name}, without {STATE}, which the Trainer writes last"
    return ""


def _parts(folder: Folder) -> Iterator[Part]:
    """Directories that other formats own: FSDP's shards, DeepSpeed's tag."""
    for name in sorted(folder.folders):
        if _FSDP.fullmatch(name):
            yield Part(name, "model" if name.startswith("pytorch_model") else "optimizer", "dcp")
    if any(_ZERO.fullmatch(name) for name in folder.folders):
        name = max(filter(_ZERO.fullmatch, folder.folders), key=lambda name: int(name.removeprefix("global_step")))
        yield Part(name, "", "deepspeed")


def _arguments(state: State) -> dict[Any, Any]:
    """The fields of TrainingArguments, as far as they are plain."""
    inner = state.state if isinstance(state, Opaque) else state
    return inner if isinstance(inner, dict) else {}


def step_in(state: dict[str, Any] | None) -> int | None:
    """The step that trainer_state.json records."""
    step = None if state is None else state.get("global_step")
    return step if type(step) is int else None


def disagreements(match: FormatMatch, step: int | None) -> Iterator[Finding]:
    """HT001: the step that is recorded is not that of the folder's name."""
    if step is not None and match.step is not None and step != match.step:
        message = f"{STATE}: says step {step}, the folder's name says {match.step}; the content counts"
        hint = "it was renamed, or files of two checkpoints were mixed"
        yield Finding("HT001", Severity.WARNING, message, STATE, hint=hint)
