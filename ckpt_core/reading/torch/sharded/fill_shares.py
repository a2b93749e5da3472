"""Fills each rank's parts of tensors from one checkpoint.

Every rank reads its own boxes, and all succeed or none.

Memory: nothing besides the parts themselves, as `fill`.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ckpt_core.log import Logger
from ckpt_core.reading.torch.fill import Fill, read_fills
from ckpt_core.reading.torch.sharded.parts import FlatShards, LocalPart
from ckpt_core.reading.torch.sharded.replicas import AUTO, BROADCAST, asked_of, deal_out
from ckpt_core.reading.torch.source import TensorSource
from ckpt_core.storage.checking.shared_proof import finish_together, read_in_shares
from ckpt_core.storage.ranks.ranks import Ranks
from ckpt_core.storage.workers import shared_with_ranks_here

if TYPE_CHECKING:
    import torch

_log = Logger(__name__)


@dataclass(frozen=True, slots=True)
class ShareFill:
    """A part of a tensor to fill, and the stored name.

    Attributes:
        tensor: All of it, as the model has it.
        part: This rank's part, or memory that stands for it.
        component: The label of the stored component.
        name: The stored tensor's name.
    """

    tensor: "torch.Tensor | FlatShards"
    part: LocalPart
    component: str
    name: str


@dataclass(frozen=True, slots=True)
class Reading:
    """The bytes of tensors that a rank read, and how replicas were."""

    nbytes: int
    shared: str = ""


def fill_shares(
    checkpoint: TensorSource,
    fills: Sequence[ShareFill],
    ranks: Ranks,
    *,
    done: Callable[[str], None],
    replicas: str = AUTO,
) -> Reading:
    """Fill this rank's parts while every other rank fills its own.

    Args:
        checkpoint: What is read, opened by every rank.
        fills: This rank's parts; the tensors are the same, in the same order, on every rank.
        ranks: The ranks that fill together.
        done: Told the name of each stored tensor whose part on this rank was read.
        replicas: How ranks with the same part come to it: `auto`, `read` or `broadcast`.

    Raises:
        CkptError: A read failed, on this rank or another, or bytes do not match a checksum: on every rank.
    """
    several = ranks.world > 1
    dealt = deal_out([(one.tensor, one.part) for one in fills], ranks) if several else {}
    asked = asked_of(checkpoint.files, dealt, ranks) if several else None
    broadcast = asked is not None and (replicas == BROADCAST or (replicas == AUTO and asked.once < asked.each))
    sent = dealt if broadcast else {}
    own = [one for number, one in enumerate(fills) if number not in sent or sent[number].is_mine]
    reads = [Fill(one.part.memory, one.component, one.name, one.part.box) for one in own]
    with shared_with_ranks_here() if several else nullcontext():
        read_in_shares(checkpoint.files, ranks)
        ranks.together(lambda: read_fills(checkpoint, reads, done=done))
        finish_together(checkpoint.files, ranks) if several else checkpoint.finish()
    for shared in sent.values():
        shared.send()
    said = asked.said(broadcast, len(dealt)) if asked is not None and dealt else ""
    if said and ranks.leads:
        _log.info("%s: %s", checkpoint.location, said)
    return Reading(sum(one.part.nbytes for one in own), said)
