"""The files of BAGEL's training directories, by name.

Sources: BAGEL `train/fsdp_utils.py` (fsdp_save_ckpt: full weights, and the optimizer's flat parameters by shard); its
forks' sharded checkpoint manager (`metadata.json`, DCP directories or a file a rank) and FSDP2 branch.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from ckpt_fsdp.rank_sets import RankSet

METADATA = "metadata.json"
SCHEDULER = "scheduler.pt"
DATA = "data_status.pt"
COPY = "model_full.safetensors"
SINGLE = "model.pt"

_SHARDED = {"model_sharded": "model", "ema_sharded": "ema"}
_FULL = {"model.safetensors": "model", "ema.safetensors": "ema"}
_OTHERS = frozenset({METADATA, SCHEDULER, DATA, COPY, SINGLE})
_RANK = re.compile(r"(model|ema|optimizer)_rank(\d{5,7})(?:_of(\d{5,7}))?\.pt")
_FLAT = re.compile(r"optimizer\.(\d{5,7})-of-(\d{5,7})\.pt")


@dataclass(slots=True)
class DirectoryContent:
    """The content of one directory.

    Attributes:
        sharded: Directories of DCP, by kind of component.
        full: Files with all weights, by kind.
        ranks: Files of a rank each, by kind.
        flat: The optimizer's flat parameters by number of the shard.
        flat_count: How many of these there should be, by their names.
        others: The rest of BAGEL's files.
    """

    sharded: dict[str, str] = field(default_factory=dict)
    full: dict[str, str] = field(default_factory=dict)
    ranks: dict[str, RankSet] = field(default_factory=dict)
    flat: dict[int, str] = field(default_factory=dict)
    flat_count: int = 0
    others: set[str] = field(default_factory=set)

    @property
    def has_weights(self) -> bool:
        return bool(self.full or self.sharded or SINGLE in self.others or {"model", "ema"} & set(self.ranks))

    @property
    def files(self) -> set[str]:
        """The names of files that are part of the layout."""
        ranks = [path for rank_set in self.ranks.values() for path in rank_set.paths.values()]
        return {*self.full.values(), *ranks, *self.flat.values(), *self.others}


def survey(paths: Iterable[str]) -> dict[str, DirectoryContent]:
    """Return the content of each directory with BAGEL's names."""
    directories: dict[str, DirectoryContent] = {}
    for path in paths:
        root, _, name = path.rpartition("/")
        above, _, folder = root.rpartition("/")
        if folder in _SHARDED:
            directories.setdefault(above, DirectoryContent()).sharded[_SHARDED[folder]] = folder
        elif name in _FULL or name in _OTHERS or name.startswith(("model_rank", "ema_rank", "optimizer")):
            _note(directories.setdefault(root, DirectoryContent()), name)
    return directories


def step_of(folder: str) -> int | None:
    """Return the step that a directory is named for.

    400 of `0000400`. BAGEL takes no other name.
    """
    return int(folder) if re.fullmatch(r"\d{1,18}", folder) else None


def _note(content: DirectoryContent, name: str) -> None:
    rank, flat = _RANK.fullmatch(name), _FLAT.fullmatch(name)
    if name in _FULL:
        content.full[_FULL[name]] = name
    elif name in _OTHERS:
        content.others.add(name)
    elif rank:
        world = int(rank[3]) if rank[3] else None
        content.ranks.setdefault(rank[1], RankSet(rank[1], world=world)).paths[int(rank[2])] = name
    elif flat:
        content.flat[int(flat[1])] = name
        content.flat_count = max(content.flat_count, int(flat[2]))
