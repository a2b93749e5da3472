"""Reads the names of weight files and groups them.

Sources: transformers `utils/__init__.py` (WEIGHTS_NAME and its kin) and `modeling_utils.py` (_add_variant and
save_pretrained); diffusers `pipelines/pipeline_loading_utils.py` for its two spellings of a variant.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

CONFIG = "config.json"
"""What says how the model is built; by itself it is no model."""

EMA = "ema"
"""The stem of averaged weights, which BAGEL keeps beside the model's own, or in place of them."""

_STEMS = ("model", "pytorch_model", "diffusion_pytorch_model", EMA)
_SAFETENSORS_STEMS = ("model", "diffusion_pytorch_model", EMA)
_BIN_STEMS = ("pytorch_model", "diffusion_pytorch_model")

_VARIANT = r"[A-Za-z0-9_-]+?"
_FILE = re.compile(
    rf"(?P<stem>{'|'.join(_STEMS)})(?:\.(?P<variant>{_VARIANT}))?(?:-(?P<number>\d{{5,9}})-of-(?P<count>\d{{5,9}}))?"
    rf"(?:\.(?P<late>{_VARIANT}))?\.(?P<suffix>safetensors|bin)"
)
_INDEX = re.compile(
    rf"(?P<stem>{'|'.join(_STEMS)})(?:\.(?P<variant>{_VARIANT}))?\.(?P<suffix>safetensors|bin)\.index"
    rf"(?:\.(?P<late>{_VARIANT}))?\.json"
)
_STEP = re.compile(r"checkpoint-(\d{1,18})")


@dataclass(frozen=True, slots=True)
class WeightName:
    """The parsed name of a weight file.

    Attributes:
        stem: `model`, `pytorch_model`, `diffusion_pytorch_model` or `ema`.
        suffix: `safetensors` or `bin`.
        variant: What stands between them (`fp16`); "" for the plain one.
        number: Of a shard, from 1; 0 for a file that is not one of several.
        count: How many shards the name says there are; 0 likewise.
        is_index: Whether it is the index of shards.
    """

    stem: str
    suffix: str
    variant: str = ""
    number: int = 0
    count: int = 0
    is_index: bool = False


def parse(name: str) -> WeightName | None:
    """Parse the name of a weight file or an index.

    None for any other file.
    """
    if not name.startswith(_STEMS):
        return None
    match = _INDEX.fullmatch(name)
    is_index = match is not None
    match = match or _FILE.fullmatch(name)
    if match is None:
        return None
    parts = match.groupdict()
    early, late = parts["variant"], parts["late"]
    stems = _SAFETENSORS_STEMS if parts["suffix"] == "safetensors" else _BIN_STEMS
    if parts["stem"] not in stems or (early and late):
        return None
    number, count = int(parts.get("number") or 0), int(parts.get("count") or 0)
    return WeightName(parts["stem"], parts["suffix"], early or late or "", number, count, is_index)


@dataclass(slots=True)
class WeightSet:
    """The weight files of one kind and variant.

    They are a single file, indexes, numbered shards of one directory; each may be absent.
    """

    stem: str
    suffix: str
    variant: str
    single: str | None = None
    indexes: list[str] = field(default_factory=list)
    shards: dict[str, WeightName] = field(default_factory=dict)

    @property
    def component(self) -> str:
        """The label of the component that these weights are."""
        return "ema" if self.stem == EMA else "model"

    @property
    def order(self) -> tuple[bool, bool, bool, str]:
        """The sort key of the order in which transformers looks.

        Shards that no index names come last, for it opens none.
        """
        nameless = not self.single and not self.indexes
        return (self.stem == EMA, nameless, self.suffix != "safetensors", self.stem)

    @property
    def shown(self) -> str:
        """The file that stands for the set in messages."""
        return self.single or (self.indexes[0] if self.indexes else next(iter(self.shards)))

    @property
    def paths(self) -> list[str]:
        return [*([self.single] if self.single else []), *self.indexes, *self.shards]


def group(names: Iterable[str]) -> list[WeightSet]:
    """Return the weight sets of one directory's files.

    The preferred comes first; within a set, shards by number.
    """
    sets: dict[tuple[str, str, str], WeightSet] = {}
    for name in names:
        weight = parse(name)
        if weight is None:
            continue
        key = (weight.stem, weight.suffix, weight.variant)
        weights = sets.setdefault(key, WeightSet(*key))
        if weight.is_index:
            weights.indexes.append(name)
        elif weight.count:
            weights.shards[name] = weight
        else:
            weights.single = name
    for weights in sets.values():
        weights.shards = dict(sorted(weights.shards.items(), key=lambda item: (item[1].count, item[1].number, item[0])))
    return sorted(sets.values(), key=lambda weights: (weights.variant, weights.order))


def step_of(folder: str) -> int | None:
    """Return the training step in a Trainer's folder name.

    400 of `checkpoint-400`.
    """
    match = _STEP.fullmatch(folder)
    return int(match[1]) if match else None
