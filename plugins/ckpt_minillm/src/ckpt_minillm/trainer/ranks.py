"""How many processes train together, and which one this is."""


def world_size_of(given: int | None) -> int:
    """The number of ranks: the one given, else torch's, else 1."""
    if given is not None:
        return given
    import torch.distributed as dist

    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def writes() -> bool:
    """Whether this process is the one that writes: the first of them, or the only one."""
    import torch.distributed as dist

    return not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0
