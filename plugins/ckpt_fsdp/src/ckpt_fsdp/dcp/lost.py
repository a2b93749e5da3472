"""Values whose shard is missing or too short: left out of the state, and said, so that the rest can be looked at."""

from collections.abc import Iterator, Mapping

from ckpt_core import ByteRange, Files, Finding, Severity, printable

_SHOWN = 3


def is_there(files: Files, stored: ByteRange) -> bool:
    """Whether a file has the bytes of a range."""
    return stored.path in files.entries and stored.end <= files.size(stored.path)


def findings_of(files: Files, lost: Mapping[str, ByteRange]) -> Iterator[Finding]:
    """One finding for each file whose values are lost.

    Args:
        files: The listing.
        lost: Where the lost values should be, by flat key.
    """
    by_path: dict[str, list[str]] = {}
    for name, stored in lost.items():
        by_path.setdefault(stored.path, []).append(name)
    for path, names in sorted(by_path.items()):
        shown = ", ".join(printable(name, 80) for name in names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
        gone = "is missing" if path not in files.entries else f"has only {files.size(path)} bytes"
        count = "a value that is no tensor is" if len(names) == 1 else f"{len(names)} values that are no tensors are"
        message = f"{printable(path)}: {count} stored in this file ({shown}), and the file {gone}"
        hint = "restore the file from where the checkpoint was copied"
        yield Finding("DC013", Severity.ERROR, message, path, hint=hint)
