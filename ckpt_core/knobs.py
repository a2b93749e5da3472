"""The settings that come from the environment.

One getter each, and one way to override them in a test.

Settings tune limits and speed. None of them can switch a safety rule off.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

_MIB = 1 << 20
_overrides: list[dict[str, str]] = []
"""Of every block that is open, the last one last. Blocks of several threads may end in any order."""


def _text(name: str) -> str:
    for values in reversed(_overrides.copy()):
        if name in values:
            return values[name]
    return os.environ.get(name, "")


def _integer(name: str, default: int) -> int:
    text = _text(name)
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 1:
        from ckpt_core.errors import UsageError

        raise UsageError(f"{name}={text!r}: not a positive whole number; unset it or give one")
    return value


def plugins() -> bool:
    """Return whether installed plugins are loaded.

    `CKPT_PLUGINS`, of which `none` leaves them out; they are by default.
    """
    text = _text("CKPT_PLUGINS")
    if text not in ("", "none"):
        from ckpt_core.errors import UsageError

        raise UsageError(f"CKPT_PLUGINS={text!r}: can be none only; unset it to load all that are installed")
    return not text


def workers() -> int:
    """Return the number of threads that read one checkpoint.

    `CKPT_WORKERS`, by default the processors this process may use, at most 4.

    Four already saturate a local disk; more only take memory.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return _integer("CKPT_WORKERS", min(4, usable))


def slab_bytes() -> int:
    """Return the bytes read at once for the processor.

    `CKPT_SLAB_BYTES`, 1 MiB, which stays in its cache.
    """
    return _integer("CKPT_SLAB_BYTES", _MIB)


def listing_limit() -> int:
    """Most entries one listing may have: `CKPT_LISTING_LIMIT`, one million."""
    return _integer("CKPT_LISTING_LIMIT", 1_000_000)


def header_limit() -> int:
    """Return the most bytes of a header in memory.

    The limit holds for an index and a pickle too: `CKPT_HEADER_LIMIT`, 256 MiB.
    """
    return _integer("CKPT_HEADER_LIMIT", 256 * _MIB)


def remote_timeout() -> int:
    """Return the seconds for a remote question with its tries.

    Data without progress has as long: `CKPT_REMOTE_TIMEOUT`, 60.
    """
    return _integer("CKPT_REMOTE_TIMEOUT", 60)


def remote_connections() -> int:
    """Connections that read one remote checkpoint at once: `CKPT_REMOTE_CONNECTIONS`, 8.

    They hide what a server takes to answer, and what it gives to one connection at most; more bring no more.
    """
    return _integer("CKPT_REMOTE_CONNECTIONS", 8)


def writer_wait() -> int:
    """Return the milliseconds that a changing file is waited for.

    It just changed and looks damaged: `CKPT_WRITER_WAIT`, 2000.

    Whoever fills it needs microseconds, and a processor: on a machine with many times more work than processors it may
    get none for a second. Ends at the first change, and is not begun for a file that is older.
    """
    return _integer("CKPT_WRITER_WAIT", 2000)


def rank_timeout() -> int:
    """Return the seconds of silence that end a rank.

    It counts as gone then: `CKPT_RANK_TIMEOUT`, 120.
    """
    return _integer("CKPT_RANK_TIMEOUT", 120)


def rank_wait() -> int:
    """Return the seconds for which a stuck rank is waited for.

    It lives, and does not get on with its share: `CKPT_RANK_WAIT`, 1800. Each piece that it reads, writes or tells the
    others begins them anew: however much there is to write, they are those of one step, such as a sync.
    """
    return _integer("CKPT_RANK_WAIT", 1800)


def lease_seconds() -> int:
    """Return the seconds that an unrenewed lease lasts.

    Then a writer to an object store may be taken over: `CKPT_LEASE_SECONDS`, 60.
    """
    return _integer("CKPT_LEASE_SECONDS", 60)


@contextmanager
def override(**values: int | str) -> Iterator[None]:
    """Set knobs for a block.

    Each is given by the lower-case end of its name: `override(slab_bytes=4096)`.
    """
    block = {f"CKPT_{name.upper()}": str(value) for name, value in values.items()}
    _overrides.append(block)
    try:
        yield
    finally:
        _overrides[:] = [other for other in _overrides if other is not block]


def prove_folder() -> str:
    """Return where a training that is being proved writes.

    It takes the place of the training's own folder: `CKPT_PROVE`; empty where none is proved.

    Set by `ckpt prove-resume` for the training that it runs.
    """
    return _text("CKPT_PROVE")


def prove_kill() -> int | None:
    """Return the step at which a proved training kills itself.

    `CKPT_PROVE_KILL`; None for none.
    """
    return _integer("CKPT_PROVE_KILL", 1) if _text("CKPT_PROVE_KILL") else None
