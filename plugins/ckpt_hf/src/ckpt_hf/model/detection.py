"""Recognises model directories by names alone.

config.json by itself never is one.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase, translate

from ckpt_core import Confidence, Files, FormatMatch, LocationKind, printable
from ckpt_hf.names import CONFIG, WeightSet, group, parse, step_of

_OTHERS = {
    "trainer_state.json": "a Trainer's checkpoint",
    "training_state.pt": "a training checkpoint",
    "adapter_config.json": "an adapter",
    "model_index.json": "a diffusers pipeline",
    ".metadata": "a distributed checkpoint",
    "*.distcp": "a distributed checkpoint",
    "optimizer.bin": "an Accelerate checkpoint",
    "random_states_*.pkl": "an Accelerate checkpoint",
    "optimizer.pt": "a Trainer's checkpoint",
    "optimizer.*-of-*.pt": "a sharded training checkpoint",
    "optimizer_rank*.pt": "a sharded training checkpoint",
    "*_model_states.pt": "a DeepSpeed checkpoint",
    "latest": "a DeepSpeed checkpoint",
    "pytorch_model_fsdp*": "an FSDP checkpoint",
}
"""Files beside the weights of which another format may know more; then this one does not insist."""

_OTHER = re.compile("|".join(map(translate, _OTHERS)))

_NO_WEIGHTS = "config.json and no weights; copy the weight files too, or name the directory that has them"
_WEIGHT_LIKE = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".distcp", ".gguf", ".h5", ".msgpack", ".onnx", ".pkl")
_INTERESTING = ("model", "pytorch_model", "diffusion_pytorch_model", "ema", CONFIG)


@dataclass(slots=True)
class _Directory:
    weights: list[str] = field(default_factory=list)
    has_config: bool = False
    other: str | None = None


def find(files: Files) -> Iterator[FormatMatch]:
    """Yield a match for each directory with weights.

    The weights have HF names; the listed directory itself and each below it count.
    """
    if files.location.kind is LocationKind.FILE:
        return
    directories = _survey(files)
    for root, directory in sorted(directories.items()):
        sets = group(directory.weights)
        if sets:
            step = step_of((root or files.location.name).rpartition("/")[2])
            yield FormatMatch("hf", _confidence(directory), _evidence(directory, sets), root, step)
    if not any(directory.weights for directory in directories.values()):
        yield from _config_alone(files, directories)


def is_model(files: Files) -> bool:
    """Return True if the listed directory itself is a model."""
    return files.location.kind is not LocationKind.FILE and any(
        "/" not in path and parse(path) for path in files.entries
    )


def _survey(files: Files) -> dict[str, _Directory]:
    by_root: dict[str, _Directory] = {}
    for path in files.entries:
        root, _, name = path.rpartition("/")
        if name == CONFIG:
            by_root.setdefault(root, _Directory()).has_config = True
        elif name.startswith(_INTERESTING) and parse(name) is not None:
            by_root.setdefault(root, _Directory()).weights.append(name)
        if _OTHER.match(name):
            by_root.setdefault(root, _Directory()).other = name
    return by_root


def _confidence(directory: _Directory) -> Confidence:
    return Confidence.CERTAIN if directory.has_config and directory.other is None else Confidence.LIKELY


def _evidence(directory: _Directory, sets: Sequence[WeightSet]) -> str:
    seen = f"config.json beside {sets[0].shown}" if directory.has_config else f"{sets[0].shown} without config.json"
    if directory.other is None:
        return seen
    what = next(what for pattern, what in _OTHERS.items() if fnmatchcase(directory.other, pattern))
    return f"{seen}; {printable(directory.other)} too, as in {what}"


def _config_alone(files: Files, directories: dict[str, _Directory]) -> Iterator[FormatMatch]:
    """Yield a match that explains a config without weights.

    The directory has nothing that could be weights, and cannot be read.
    """
    root = directories.get("")
    if root is None or not root.has_config or any(path.lower().endswith(_WEIGHT_LIKE) for path in files.entries):
        return
    evidence, problem = "config.json without weights", _NO_WEIGHTS
    for path, reason in files.skipped.items():
        if "/" not in path and parse(path) is not None:
            problem = f"{printable(path)} is not read: {reason}; put the file itself in its place"
    yield FormatMatch("hf", Confidence.POSSIBLE, evidence, problem=problem)
