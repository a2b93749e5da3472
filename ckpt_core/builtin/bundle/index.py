"""The index of a bundle, `bundle.json`.

It has the files of each component by its label.

{"format": "ckpt-bundle", "version": 1, "components": {"optimizer": {"tensors": FILE, "state": FILE}}}
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpt_core.errors import CorruptError, UnsupportedFormatError
from ckpt_core.schema.kinds import KINDS
from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    from ckpt_core.schema.access import Files
    from ckpt_core.schema.manifests import Component

INDEX = "bundle.json"
FORMAT = "ckpt-bundle"
VERSION = 1

_SIGN = b'"ckpt-bundle"'
_PLAIN_NAME = re.compile(r"\w[\w-]{0,63}", re.ASCII)


class ComponentFiles(NamedTuple):
    """The files of a component; None for what it has not."""

    label: str
    tensors: str | None
    state: str | None


def is_index(head: bytes) -> bool:
    """Return True where a file begins as a bundle's index does."""
    return head.lstrip()[:1] == b"{" and _SIGN in head[:200]


def files_of(components: "Iterable[Component]") -> list[ComponentFiles]:
    """Return the files that components are written to.

    A name that makes no file name becomes a number.
    """
    listed = []
    for number, component in enumerate(components):
        name = component.name if _PLAIN_NAME.fullmatch(component.name) else f"-{number}"
        stem = f"{component.kind}.{name}" if component.name else component.kind
        tensors = f"{stem}.safetensors" if len(component.tensors) else None
        state = None if component.state is None else f"{stem}.state.json"
        listed.append(ComponentFiles(component.label, tensors, state))
    return listed


def as_index(components: Iterable[ComponentFiles]) -> bytes:
    """Return the text of an index."""
    listed = {
        one.label: {key: path for key, path in (("tensors", one.tensors), ("state", one.state)) if path is not None}
        for one in components
    }
    return json.dumps({"format": FORMAT, "version": VERSION, "components": listed}, indent=1).encode()


def read_index(files: "Files") -> list[ComponentFiles]:
    """Return what the index of a listing names.

    Raises:
        CorruptError: BU001, it is no index.
        UnsupportedFormatError: BU003, a newer version wrote it.
    """
    from ckpt_core.layouts.builder import read_json

    if INDEX not in files.entries:
        raise CorruptError(f"{INDEX}: is missing; copy it from where the bundle was made", code="BU002", path=INDEX)
    content = read_json(files, INDEX)
    version = content.get("version")
    if content.get("format") == FORMAT and type(version) is int and version > VERSION:
        raise UnsupportedFormatError(
            f"{INDEX}: version {version} of a bundle, and this ckpt knows {VERSION}; upgrade ckpt-core",
            code="BU003",
            path=INDEX,
        )
    listed = content.get("components")
    if content.get("format") != FORMAT or version != VERSION or not isinstance(listed, dict):
        raise _broken("it is not the index of a bundle")
    return [_component(label, held) for label, held in listed.items()]


def _component(label: str, held: Any) -> ComponentFiles:
    known = isinstance(held, Mapping) and held.keys() <= {"tensors", "state"}
    if label.partition(":")[0] not in KINDS or not known or not all(isinstance(path, str) for path in held.values()):
        raise _broken(f"it names no files for {printable(label, 80)}")
    return ComponentFiles(label, held.get("tensors"), held.get("state"))


def _broken(reason: str) -> CorruptError:
    return CorruptError(f"{INDEX}: {reason}; copy it again", code="BU001", path=INDEX)
