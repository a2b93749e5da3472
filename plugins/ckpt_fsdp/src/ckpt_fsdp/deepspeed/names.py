"""Reads DeepSpeed's file names.

They tell what lies in each directory of a listing.

Source: DeepSpeed, `runtime/engine.py` (_get_ckpt_name, _get_zero_ckpt_name, _get_expert_ckpt_name,
_get_optimizer_ckpt_name, save_checkpoint), `runtime/pipe/module.py` (ckpt_layer_path), `checkpoint/constants.py`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ckpt_core import CkptError, Files

POINTERS = ("latest", "latest_universal")
"""Files of a root that name a tag: the first for DeepSpeed's own layout, the second for universal checkpoints."""

SCRIPTS = ("zero_to_fp32.py", "zero_to_torch.py")
"""What DeepSpeed copies beside the tags."""

_RANK_FILE = re.compile(
    r"(?:(?P<prefix>bf16_|fp16_)?zero_pp_rank_(?P<rank>\d{1,9})_)?mp_rank_(?P<slice>\d{1,9})_(?P<kind>model|optim)"
    r"_states\.pt"
)
_FOREIGN = {
    r"layer_\d+_expert_\d+_mp_rank_\d+_model_states\.pt|expert_\d+_mp_rank_\d+_model_states\.pt": "experts",
    r"expp_rank_\d+_mp_rank_\d+_optim_states\.pt": "experts",
    r"layer_\d+-model_\d+-model_states\.pt|layer_\d+-model_states\.pt": "pipeline stages",
}
_STEP = re.compile(r"global_step(\d{1,18})(?:_universal)?|checkpoint-(\d{1,18})|.*step=(\d{1,18})(?:\.ckpt)?")


@dataclass(frozen=True, slots=True)
class RankFile:
    """A file that one rank wrote.

    Attributes:
        name: Its name, without folders.
        kind: `model` or `optim`.
        rank: Data-parallel rank; None for the one file that all ranks share.
        slice: Tensor-parallel rank.
        prefix: `bf16_`, `fp16_` or nothing.
    """

    name: str
    kind: str
    rank: int | None
    slice: int
    prefix: str


@dataclass(slots=True)
class Tag:
    """The names in one tag directory."""

    files: list[RankFile] = field(default_factory=list)
    foreign: set[str] = field(default_factory=set)
    universal: bool = False

    def of(self, kind: str) -> list[RankFile]:
        return sorted((f for f in self.files if f.kind == kind), key=lambda f: (f.slice, f.rank or 0, f.prefix))

    @property
    def shown(self) -> str:
        """The content of the tag in words."""
        parts = [f"{len(self.of(kind))} {kind}_states" for kind in ("model", "optim") if self.of(kind)]
        parts += ["universal parameters"] if self.universal else []
        return ", ".join([*parts, *sorted(self.foreign)])


def parse(name: str) -> RankFile | None:
    """Parse the name of a rank's file.

    None where it is not one that a rank writes.
    """
    match = _RANK_FILE.fullmatch(name)
    if match is None:
        return None
    rank = None if match["rank"] is None else int(match["rank"])
    return RankFile(name, match["kind"], rank, int(match["slice"]), match["prefix"] or "")


def step_of(name: str) -> int | None:
    """Return the step in the name of a directory.

    Examples are `global_step400`, `checkpoint-400` and `epoch=1-step=8.ckpt`.
    """
    match = _STEP.fullmatch(name)
    return int(next(number for number in match.groups() if number)) if match else None


def survey(files: Files) -> dict[str, Tag]:
    """Return the tag directories of a listing, by path.

    "" is the listed directory itself.
    """
    tags: dict[str, Tag] = {}
    for path in files.entries:
        folder, _, name = path.rpartition("/")
        if name.endswith("_states.pt"):
            _note_states(tags, folder, name)
        elif name == "fp32.pt":
            _note_universal(tags, folder)
    for path in files.entries:
        root, offloaded, _ = f"/{path}".partition("/offloaded_tensors/")
        if offloaded and root[1:] in tags:
            tags[root[1:]].foreign.add("offloaded tensors")
    return dict(sorted(tags.items()))


def pointed(files: Files, root: str) -> Mapping[str, str]:
    """Return the texts of a directory's pointers, by name.

    A long one gives its head, which names no tag.
    """
    said: dict[str, str] = {}
    for name in POINTERS:
        path = f"{root}/{name}" if root else name
        if path in files.entries:
            try:
                said[name] = files.head(path).decode("utf-8", "replace").strip()
            except CkptError:
                continue  # it is a hint only: a place that does not answer says so where the files are opened
    return said


def _note_states(tags: dict[str, Tag], folder: str, name: str) -> None:
    file = parse(name)
    if file is not None:
        tags.setdefault(folder, Tag()).files.append(file)
        return
    for pattern, what in _FOREIGN.items():
        if re.fullmatch(pattern, name):
            tags.setdefault(folder, Tag()).foreign.add(what)


def _note_universal(tags: dict[str, Tag], folder: str) -> None:
    """Note a file `TAG/zero/PARAMETER/fp32.pt`."""
    above, _, zero = folder.rpartition("/")[0].rpartition("/")
    if zero == "zero":
        tags.setdefault(above, Tag()).universal = True
