"""Reads and makes the names of MiniLLM and minimind files.

They are `{stage}_{hidden_size}[_moe][_resume].pth`.

The rule is that of minimind's trainers. Two things stand beside it: an older habit of a word after the size
(`full_sft_512_zero.pth`), and the `.pth.tmp` that minimind writes to before it renames.
"""

import re
from dataclasses import dataclass, replace

from ckpt_core import UsageError, printable

ALIASES = {"sft": "full_sft", "reasoning": "reason", "distillation": "full_dist"}
"""What people call a stage, and what its files are called."""

STAGES = (
    "pretrain",
    "full_sft",
    "reason",
    "rlhf",
    "dpo",
    "ppo_actor",
    "ppo_critic",
    "grpo",
    "spo",
    "agent",
    "full_dist",
)
"""The stages that the trainers write. Others are kept as they are: what `--save_weight` was given."""

_STAGE = re.compile(r"[A-Za-z][A-Za-z0-9-]*(?:_[A-Za-z][A-Za-z0-9-]*)*")
_SIZE = re.compile(r"[1-9][0-9]{0,8}")
_COUNTERS = ("checkpoint", "ckpt", "epoch", "fold", "iter", "model", "rank", "seed", "step", "version")


@dataclass(frozen=True, slots=True)
class WeightsName:
    """One file name. `str()` makes it; `parse_name` reads it.

    Attributes:
        stage: As the file has it: `full_sft`, never the alias `sft`.
        hidden_size: The model's hidden size, at least 1.
        moe: Whether the model uses experts.
        variant: Words after the size (`zero`), joined by `_`; "" for none.
        resume: Whether it holds a trainer's state, not weights alone.
        in_flight: Whether it is the `.tmp` that is renamed once it is written.
    """

    stage: str
    hidden_size: int
    moe: bool = False
    variant: str = ""
    resume: bool = False
    in_flight: bool = False

    def __post_init__(self) -> None:
        check_stage(self.stage)
        if not _SIZE.fullmatch(str(self.hidden_size)):
            raise UsageError(f"hidden_size {self.hidden_size}: not a whole number from 1 to 999999999")
        words = self.variant.split("_")
        clash = words[0] == "moe" or words[-1] == "resume"
        if self.variant and (clash or not _STAGE.fullmatch(self.variant)):
            raise UsageError(f"variant {printable(self.variant)}: would be read back as something else")

    def __str__(self) -> str:
        words = [self.stage, str(self.hidden_size)]
        words += ["moe"] if self.moe else []
        words += [self.variant] if self.variant else []
        words += ["resume"] if self.resume else []
        return "_".join(words) + (".pth.tmp" if self.in_flight else ".pth")

    def for_resume(self) -> "WeightsName":
        """Return the name of the resume file of these weights.

        Their training goes on from it.
        """
        return replace(self, resume=True)

    @property
    def plain(self) -> bool:
        """True if it names weights alone, completely written."""
        return not self.resume and not self.in_flight

    @property
    def lora(self) -> bool:
        """True if the stage is a LoRA's name.

        Examples are `lora_medical` and `my_lora`.
        """
        return any(word.startswith("lora") for word in self.stage.split("_"))

    @property
    def known(self) -> bool:
        """True if a trainer writes this stage by default.

        Then the name alone says whose file it is.
        """
        return self.stage in STAGES or self.lora

    @property
    def counts(self) -> bool:
        """True if the number more likely counts something.

        An example is `epoch_3.pth`.
        """
        return self.stage.rpartition("_")[2] in _COUNTERS


def parse_name(name: str) -> WeightsName | None:
    """Parse a file name, without its folder.

    None where the rule does not hold.
    """
    in_flight = name.endswith(".pth.tmp")
    stem = name.removesuffix(".tmp")
    if not stem.endswith(".pth"):
        return None
    words = stem.removesuffix(".pth").split("_")
    resume = words[-1] == "resume"
    words = words[:-1] if resume else words
    sizes = [index for index, word in enumerate(words) if _SIZE.fullmatch(word)]
    if len(sizes) != 1:
        return None
    stage, size, rest = words[: sizes[0]], words[sizes[0]], words[sizes[0] + 1 :]
    moe = rest[:1] == ["moe"]
    variant = "_".join(rest[1:] if moe else rest)
    try:
        parsed = WeightsName("_".join(stage), int(size), moe, variant, resume, in_flight)
    except UsageError:
        return None
    # An empty word (`pretrain_512_.pth`) is lost on the way; such a name is not one of ours.
    return parsed if str(parsed) == name else None


def name_of(place: str) -> str:
    """Return the file name at the end of a path or URL."""
    path = place.partition("?")[0] if "://" in place else place
    return path.rstrip("/").rpartition("/")[2]


def stage_of(word: str) -> str:
    """Return the stage with its alias replaced.

    Anything else stays as it is; files have the result in their names.

    Raises:
        UsageError: It cannot be the first part of a name.
    """
    return check_stage(ALIASES.get(word, word))


def check_stage(stage: str) -> str:
    if not _STAGE.fullmatch(stage):
        raise UsageError(
            f"stage {printable(stage)!r}: not words of letters, digits and - that begin with a letter, joined by _; "
            "give the path of the file itself"
        )
    return stage


def looks_like_stage(word: str) -> bool:
    return _STAGE.fullmatch(word) is not None
