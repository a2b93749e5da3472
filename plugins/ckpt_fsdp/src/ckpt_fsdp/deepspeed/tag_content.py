"""The open rank files of one tag, with their faults."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ckpt_core import Finding
from ckpt_fsdp.deepspeed.rank_files import ModelStates, OptimStates

if TYPE_CHECKING:
    from ckpt_core.codecs import TorchFile


@dataclass(slots=True)
class TagContent:
    """The content of a tag's files.

    Attributes:
        folder: The tag directory; "" for the listing itself.
        model: The model_states of the first rank.
        others: Those of the other ranks, where they were needed.
        optims: The optim_states by rank, without those that do not belong here.
        world: How many ranks there were.
        findings: What is wrong with them.
    """

    folder: str
    model: ModelStates
    others: dict[int, ModelStates] = field(default_factory=dict)
    optims: dict[int, OptimStates] = field(default_factory=dict)
    world: int = 1
    findings: list[Finding] = field(default_factory=list)

    @property
    def first(self) -> OptimStates | None:
        """The optim_states of the lowest rank present."""
        return self.optims[min(self.optims)] if self.optims else None

    @property
    def stage(self) -> int:
        return self.first.stage if self.first is not None else 0

    @property
    def torches(self) -> "Iterator[TorchFile]":
        """Every file that was opened."""
        yield self.model.torch
        yield from (model.torch for model in self.others.values())
        yield from (optim.torch for optim in self.optims.values())

    def path(self, name: str) -> str:
        return f"{self.folder}/{name}" if self.folder else name
