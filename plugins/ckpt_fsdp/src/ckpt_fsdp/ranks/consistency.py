"""Checks that the files of several ranks are of one save.

How many they are, whose each is, what each says of tensors.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import prod

from ckpt_core import Finding, Severity, printable
from ckpt_fsdp.rank_sets import RankSet
from ckpt_fsdp.ranks.joining import RankPart, Row
from ckpt_fsdp.ranks.missing import Missing

_HINT = "copy the directory again, all files of one save"


def world_of(named: int | None, parts: Sequence[RankPart]) -> int:
    """Return how many ranks there were.

    The names tell, else the meshes in the files.
    """
    shardings = [sharding for part in parts for sharding in part.file.sharded.values()]
    meshes = (max(prod(sharding.mesh), sharding.world or 1) for sharding in shardings)
    highest = max((part.rank for part in parts), default=0) + 1
    return named or max(highest, *meshes, 1)


def missing_ranks(what: str, rank_set: RankSet, missing: Missing, *, component: str | None = None) -> Iterator[Finding]:
    """Yield RK001 for each missing file of a rank.

    Which elements are lost, coverage says.

    Args:
        what: What the files hold, in words.
        rank_set: The files that are there.
        missing: The ranks whose files are not.
        component: Label of what is not whole without them; with `{}` or the like where each rank has its own.
    """
    for rank in missing.ranks:
        name = rank_set.name_of(rank)
        more = missing.more if rank == missing.ranks[-1] else 0
        rest = f", and so are those of {more} more ranks" if more else ""
        which = f"{printable(name)}: this rank's" if name else f"rank {rank}'s"
        message = f"{which} file is missing{rest}; its part of {printable(what)} is not there"
        label = component and component.format(rank)
        yield Finding("RK001", Severity.ERROR, message, name or None, hint=_HINT, component=label)


def contradictions(world: int, parts: Sequence[RankPart]) -> Iterator[Finding]:
    """Yield RK002 and RK003 for contradicted names.

    A file says something else of the ranks than its name does.
    """
    for part in parts:
        path = part.file.path
        for name, sharding in part.file.sharded.items():
            ranks = prod(sharding.mesh)
            if ranks > world or part.rank >= world:
                message = f"{printable(path)}: {printable(name)} is spread over {ranks} ranks, and there are {world}"
                yield Finding("RK002", Severity.WARNING, message, path, name, "its name was changed, or others' were")
                break
            if sharding.rank is not None and sharding.rank != part.rank:
                message = f"{printable(path)}: rank {sharding.rank} wrote this, by its content"
                hint = "rename it: programs that read it by its name take the wrong part"
                yield Finding("RK003", Severity.WARNING, message, path, name, hint)
                break


def differing_shapes(rows: Mapping[str, Row]) -> Iterator[Finding]:
    """Yield RK005 for tensors of differing shape or type.

    Ranks have them with different ones.
    """
    for name, row in rows.items():
        if row.others:
            path = row.parts[0].file.path
            ranks = ", ".join(map(str, row.others[:8]))
            what = f"{row.dtype.code} of shape {row.shape}"
            message = f"{printable(name)}: {what} in {printable(path)}, and something else in the file of rank {ranks}"
            yield Finding("RK005", Severity.ERROR, message, path, name, _HINT)


def unplaced(what: str, parts: Sequence[RankPart], rows: Mapping[str, Row]) -> Iterator[Finding]:
    """Yield RK006 for tensors that may be shards or replicas.

    Several files have them and none says which.
    """
    spread = any(part.file.sharded for part in parts)
    if len(parts) > 1 and not spread and any(prod(row.shape) > 1 for row in rows.values()):
        path = parts[0].file.path
        message = (
            f"{printable(path)}: {printable(what)} in {len(parts)} files, and none says whether its tensors are pieces "
            "or copies (flat parameters of FSDP1?)"
        )
        yield Finding("RK006", Severity.ERROR, message, path, hint="save it again as DTensors, or as a full state dict")


def kept_apart(path: str, count: int) -> Finding:
    """Return RK010 for an optimizer in separate files.

    Each rank keeps what it has of flat parameters.
    """
    message = (
        f"{printable(path)}: the optimizer's state is over flat parameters of FSDP1, in {count} files: each is kept as "
        "it is, for where each weight starts in them no file says"
    )
    hint = "to train on, use as many ranks; to change their number, save it with FSDP.optim_state_dict"
    return Finding("RK010", Severity.INFO, message, path, hint=hint)


def differing_states(what: str, states: Mapping[int, object]) -> Iterator[Finding]:
    """Yield RK008 for differing plain state.

    Ranks kept different state of what they share.
    """
    ranks = list(states)
    different = [rank for rank in ranks if states[rank] != states[ranks[0]]]
    if different:
        shown = ", ".join(map(str, different[:8]))
        message = f"{printable(what)}: rank {shown} kept another state than rank {ranks[0]}, whose is shown"
        yield Finding("RK008", Severity.WARNING, message, hint="the files may be of two saves")
