"""Reads and writes `ckpt.synthesized.json`, the list of invented components.

It names the components of a directory that were made up, not saved. It lies among the files, is sealed with them, and
goes where they go; whoever opens the directory is told.
"""

import json
from collections.abc import Iterator, Mapping

from ckpt_core.errors import CorruptError
from ckpt_core.schema.access import Files
from ckpt_core.schema.repairs import Operation, RepairAction
from ckpt_core.schema.roles import Presence, Role
from ckpt_core.schema.side_files.reserved_names import SYNTHESIZED

_SCHEMA = "ckpt/synthesized@1"
_LARGEST = 1 << 20


def marks(files: Files, invented: Mapping[str, str]) -> RepairAction:
    """Return the write of the note, including earlier repairs' entries."""
    content = {"schema": _SCHEMA, "components": {**_read(files), **invented}}
    text = json.dumps(content, indent=2, sort_keys=True).encode() + b"\n"
    return RepairAction("note what was made up", Operation.WRITE, SYNTHESIZED, text)


def synthesized_roles(files: Files) -> Iterator[Role]:
    """Yield a role for each component that was made up.

    Raises:
        CorruptError: RP001, the note cannot be read; what is made up must not pass for saved.
    """
    for label, how in _read(files).items():
        kind, _, name = label.partition(":")
        yield Role(kind, Presence.SYNTHESIZED, SYNTHESIZED, how, name)


def _read(files: Files) -> Mapping[str, str]:
    if SYNTHESIZED not in files.entries:
        return {}
    try:
        if files.size(SYNTHESIZED) > _LARGEST:
            raise ValueError("too long")
        document = json.loads(files.read(SYNTHESIZED))
        components = document["components"]
        if document["schema"] != _SCHEMA or not all(type(how) is str for how in components.values()):
            raise ValueError("another schema")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        message = f"{SYNTHESIZED}: cannot be read ({type(error).__name__}), so nobody knows what here was made up"
        raise CorruptError(f"{message}; copy it again", code="RP001", path=SYNTHESIZED) from None
    return {str(label): how for label, how in components.items()}
