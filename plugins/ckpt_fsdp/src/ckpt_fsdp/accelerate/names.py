"""Reads the names in directories of Accelerate's FSDP saves.

Models and optimizers by their kind of state dict, and what lies beside.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_IN_FOLDER = re.compile(
    r"(?:(.*)/)?((pytorch_model_fsdp|optimizer)_(\d{1,4}))/(?:(?:__\d+)?\.metadata(?:\.tmp)?|[^/]+\.distcp)"
)
_FULL = re.compile(r"(pytorch_model_fsdp|optimizer)(?:_(\d{1,4}))?\.bin")
_FLAT = re.compile(r"pytorch_model_fsdp_rank(\d{1,6})\.bin")
_SHARD_RANK = re.compile(r"__(\d{1,6})_\d+\.distcp")
_BESIDE = {
    "scheduler": re.compile(r"scheduler(?:_(\d{1,4}))?\.bin"),
    "sampler": re.compile(r"(?:sampler|dl_state_dict)(?:_(\d{1,4}))?\.bin"),
    "scaler": re.compile(r"scaler()\.pt"),
    "rng": re.compile(r"random_states_(\d{1,6})\.pkl"),
    "progress": re.compile(r"(custom_checkpoint_\d{1,4})\.pkl"),
}
"""The component of each file beside the models, and its name where there are several."""

_TRAINERS = re.compile(r"trainer_state\.json|training_args\.bin|rng_state(?:_\d+)?\.pth")

MODEL, OPTIMIZER = "pytorch_model_fsdp", "optimizer"


@dataclass(slots=True)
class DirectoryContent:
    """The content of one directory.

    Numbers are those of the models and optimizers, from 0.

    Attributes:
        models: Directories of DCP, by number.
        optimizers: The same of the optimizers.
        full_models: Files with a whole state dict, by number.
        full_optimizers: The same of the optimizers.
        flat: Files with the flat parameters of a rank each.
        beside: Component, name and file of what else belongs to it.
        ranks: How many ranks wrote the directories, as far as their files tell.
        of_trainer: Whether files of the Trainer of transformers lie beside: its format knows more then.
    """

    models: dict[int, str] = field(default_factory=dict)
    optimizers: dict[int, str] = field(default_factory=dict)
    full_models: dict[int, str] = field(default_factory=dict)
    full_optimizers: dict[int, str] = field(default_factory=dict)
    flat: list[str] = field(default_factory=list)
    beside: list[tuple[str, str, str]] = field(default_factory=list)
    ranks: int = 0
    of_trainer: bool = False

    @property
    def has_model(self) -> bool:
        return bool(self.models or self.full_models or self.flat)

    @property
    def is_full(self) -> bool:
        """True if whole state dicts were saved, a file each."""
        return bool(self.full_models or self.full_optimizers) and not (self.models or self.optimizers)

    @property
    def schedulers(self) -> list[int]:
        """The numbers of the schedules."""
        return [int(name or 0) for kind, name, _ in self.beside if kind == "scheduler"]

    @property
    def least_optimizers(self) -> int:
        """The least number of optimizers: one, and one for each schedule."""
        return max(self.schedulers, default=0) + 1

    @property
    def least_models(self) -> int:
        """The least number of models.

        Accelerate saves each optimizer with the model of its number.
        """
        return max(self.least_optimizers, *(number + 1 for number in (*self.optimizers, *self.full_optimizers, 0)))

    @property
    def is_claimed(self) -> bool:
        """True if this is a directory of Accelerate's.

        It has a model, or an optimizer beside what only Accelerate writes.
        """
        return self.has_model or bool(self.optimizers and self.beside)


def survey(paths: Iterable[str]) -> dict[str, DirectoryContent]:
    """Return the content of each directory with such names."""
    by_root: dict[str, DirectoryContent] = {}
    for path in paths:
        folder = _IN_FOLDER.fullmatch(path)
        if folder is not None:
            _add_folder(by_root.setdefault(folder[1] or "", DirectoryContent()), path, folder)
            continue
        root, _, name = path.rpartition("/")
        _add_file(by_root, root, name)
    return {root: directory for root, directory in by_root.items() if directory.is_claimed}


def _add_folder(content: DirectoryContent, path: str, folder: "re.Match[str]") -> None:
    directories = content.models if folder[3] == MODEL else content.optimizers
    directories[int(folder[4])] = folder[2]
    shard = _SHARD_RANK.fullmatch(path.rpartition("/")[2])
    if shard is not None:
        content.ranks = max(content.ranks, int(shard[1]) + 1)


def _add_file(by_root: dict[str, DirectoryContent], root: str, name: str) -> None:
    full = _FULL.fullmatch(name)
    if full is not None:
        here = by_root.setdefault(root, DirectoryContent())
        files = here.full_models if full[1] == MODEL else here.full_optimizers
        files[int(full[2] or 0)] = name
    elif _FLAT.fullmatch(name):
        by_root.setdefault(root, DirectoryContent()).flat.append(name)
    elif _TRAINERS.fullmatch(name):
        by_root.setdefault(root, DirectoryContent()).of_trainer = True
    else:
        for kind, pattern in _BESIDE.items():
            known = pattern.fullmatch(name)
            if known is not None:
                label = next((group for group in known.groups() if group), "")
                by_root.setdefault(root, DirectoryContent()).beside.append((kind, label, name))
