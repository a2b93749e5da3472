"""The steps of a repair, as its backup keeps them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import xxhash

from ckpt_core.errors import CorruptError
from ckpt_core.schema.text import printable

STEPS = "steps.json"
"""The name of what keeps them: from when it is there on, undo works."""

DONE = "done"
"""The name of what says that all of them were done and verified."""

_SCHEMA = "ckpt/backup@1"


@dataclass(frozen=True, slots=True)
class Step:
    """One change.

    Attributes:
        do: `write`, `move` or `remove`.
        path: The file it is about, relative to the root.
        source: For a move: the name the file had.
        made: For a write: the digest of its content.
        had: Whether the path had other content before, which is kept as `old-N`.
        size: Bytes of what the path has afterwards, in a store.
    """

    do: str
    path: str
    source: str = ""
    made: str = ""
    had: bool = False
    size: int = 0


def encode_steps(steps: Sequence[Step]) -> bytes:
    return json.dumps({"schema": _SCHEMA, "steps": [asdict(step) for step in steps]}).encode()


def parse_steps(text: bytes, place: str, *, leads_away: Callable[[str], bool]) -> list[Step]:
    """The steps of a backup.

    Args:
        text: What the backup keeps.
        place: Where, for messages.
        leads_away: Whether a path is none of the checkpoint that the backup is of.

    Raises:
        CorruptError: No repair noted them: a checkpoint may come from anybody.
    """
    try:
        document: Mapping[str, Any] = json.loads(text)
        if document["schema"] != _SCHEMA:
            raise ValueError(document["schema"])
        steps = [Step(**row) if isinstance(row, dict) else Step(*row) for row in document["steps"]]
        for step in steps:
            for path in filter(None, (step.path, step.source)):
                if leads_away(path) or step.do not in ("write", "move", "remove"):
                    raise ValueError(path)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = printable(str(error), 80)
        raise CorruptError(f"{place}: not the notes of a repair ({reason}); nothing was undone") from None
    return steps


def digest_of(data: bytes) -> str:
    return str(xxhash.xxh3_128(data).hexdigest())
