"""The number of training processes, and this one's part."""


def world_size_of(given: int | None) -> int:
    """Return the number of ranks.

    The one given, else torch's, else 1.
    """
    if given is not None:
        return given
    import torch.distributed as dist

    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def writes() -> bool:
    """Return True if this process writes.

    The first of them does, or the only one.
    """
    import torch.distributed as dist

    return not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0
