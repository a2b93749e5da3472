"""The names that ckpt reserves beside a checkpoint.

Seals, stages and locks have them; they are no part of the checkpoint.
"""

from collections.abc import Container

from ckpt_core.schema.causes import MADE_UP_FILE

DIRECTORY_SEAL = "ckpt.manifest.json"
SYNTHESIZED = MADE_UP_FILE

TAINT = "ckpt.tainted"
"""The key of a format's own metadata that says what is tainted; other readers ignore it."""

TAINTED_FILE = "ckpt.tainted.json"
"""What in a directory is not what was saved; part of it."""

BLOCKS = "ckpt.blocks"
FILE_SUFFIX = ".ckpt.json"
SUMS = "SHA256SUMS"
"""In a directory, what `sha256sum -c` checks; part of it."""

FILE_SUMS = ".sha256"
"""The suffix of the same beside a single file."""

MARK = ".ckpt-"
"""In the name of every stage, lock and backup: `.NAME.ckpt-stage-ID`, `.NAME.ckpt-lock`, `.ckpt-backup-1`."""

UNFINISHED = f"{MARK}unfinished.json"
"""In a store, at the root of a directory that is being written there for the first time: until its seal is there."""

GENERATION = f"{MARK}generation-"
"""In a store, the folder of what replaces a directory's content: the seal names the one that holds."""

JOURNAL = f"{MARK}journal/"
"""In a store, the folder of what a run has finished, in numbered objects."""

LEASE = f"{MARK}lease.json"
"""In a store, what stands for the lock: of a directory inside of it, of a file `.NAME.ckpt-lease.json` beside it."""

STAGE = f"{MARK}stage-"


def is_ours(path: str, listed: Container[str]) -> bool:
    """Return True if a path is ckpt's and not the checkpoint's.

    It is a seal, or what a write leaves while it is under way.
    """
    if path.endswith(FILE_SUFFIX):
        return path.removesuffix(FILE_SUFFIX) in listed
    parts = path.split("/")
    return parts[-1] in (DIRECTORY_SEAL, BLOCKS) or any(map(is_under_way, parts))


def is_under_way(name: str) -> bool:
    """Return True for the name of a stage, lock or backup.

    `name` is a single part of a path.
    """
    return name.startswith(".") and MARK in name
