"""The seal: the record of what was written, kept with it.

This is its form on disk, and where it lies.

A directory's seal is inside it (`ckpt.manifest.json`, its block digests packed in `ckpt.blocks`); a single file's is
beside it (`NAME.ckpt.json`, the block digests in it). Digests are xxh3-128: of each 1 MiB block of a file, headers and
gaps included; of a file, over its block digests; of tensors and components, as a fingerprint has them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ckpt_core.errors import CorruptError
from ckpt_core.schema.byte_consumers import BLOCK
from ckpt_core.schema.side_files.reserved_names import GENERATION

SCHEMA = "ckpt/seal@1"
DIGEST_BYTES = 16

PLACEHOLDER = b'{"schema": "ckpt/unfinished@1"}'
"""Takes the name of a seal in a store, so that a writer who was taken over from cannot seal what is not its own."""

COPY = "copy"
"""The operation of a tensor that was written as it was read."""


@dataclass(frozen=True, slots=True)
class FileSeal:
    """One sealed file: its size and its digests.

    The size is in bytes; the digest is over its block digests, and those are of 16 bytes each.
    """

    size: int
    root: str
    blocks: bytes


@dataclass(frozen=True, slots=True)
class Certificate:
    """The proof of a tensor, made when it was converted.

    Attributes:
        source: `component/name` where it was read, and its digest there.
        operation: `copy`, or what was done, in order: `conv2d to linear; cast F32 to BF16`. With `take from the base`
            before it the source is a tensor of the base model.
        target: Its digest where it was written.
    """

    source: str
    source_digest: str
    operation: str
    target: str


@dataclass(frozen=True, slots=True)
class Seal:
    """The record of what was written.

    Attributes:
        format: Name of the format.
        files: The sealed files, by path relative to the root.
        tensors: Digest of each tensor, by component and name.
        components: Digest of each component.
        certificates: What was proved of each tensor, by `component/name`; empty for what was not converted.
        provenance: Where it came from: the source's location and format, the software's version, the step.
        id: Unique to this sealing, where a store was written to, so that a writer knows its own; else empty.
        generation: The folder inside of the directory that its files are in; empty where they are in the directory.
        objects: The version of a single file's object in its store, by path: of another version it says nothing.
    """

    format: str
    files: Mapping[str, FileSeal]
    tensors: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    components: Mapping[str, str] = field(default_factory=dict)
    certificates: Mapping[str, Certificate] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""
    generation: str = ""
    objects: Mapping[str, str] = field(default_factory=dict)


def pack(seal: Seal, *, apart: bool) -> tuple[bytes, bytes]:
    """Return the seal as JSON, and the packed block digests.

    The digests of all files come in the order of their paths.

    With `apart` the digests stay out of the JSON, for a file of their own; else the second value is empty.
    """
    files: dict[str, Any] = {}
    blocks = b""
    for path, file in sorted(seal.files.items()):
        files[path] = {"size": file.size, "xxh3": file.root}
        if apart:
            blocks += file.blocks
        else:
            from base64 import b64encode

            files[path]["blocks"] = b64encode(file.blocks).decode()
    stored = {"id": seal.id, "generation": seal.generation, "objects": dict(seal.objects)}
    document = {
        **{name: value for name, value in stored.items() if value},
        "schema": SCHEMA,
        "format": seal.format,
        "files": files,
        "tensors": {label: dict(names) for label, names in seal.tensors.items()},
        "components": dict(seal.components),
        "certificates": {
            name: [one.source, one.source_digest, one.operation, one.target] for name, one in seal.certificates.items()
        },
        "provenance": dict(seal.provenance),
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n", blocks


def unpack(text: bytes, blocks: bytes | None, *, path: str) -> Seal:
    """Return the seal that `pack` made the bytes of.

    CorruptError (SL005) where it is not one.
    """
    try:
        document = json.loads(text)
        if document["schema"] != SCHEMA:
            raise ValueError(document["schema"])
        files, at = {}, 0
        for name, entry in sorted(document["files"].items()):
            count = -(-entry["size"] // BLOCK) * DIGEST_BYTES
            if blocks is None:
                from base64 import b64decode

                own = b64decode(entry["blocks"])
            else:
                own, at = blocks[at : at + count], at + count
            if len(own) != count:
                raise ValueError(name)
            files[name] = FileSeal(entry["size"], entry["xxh3"], own)
        return Seal(
            format=str(document["format"]),
            files=files,
            tensors={label: _names(names) for label, names in _names(document["tensors"]).items()},
            components=_names(document["components"]),
            certificates={name: Certificate(*one) for name, one in document["certificates"].items()},
            provenance=_names(document["provenance"]),
            id=str(document.get("id", "")),
            generation=str(document.get("generation", "")),
            objects={name: str(version) for name, version in _names(document.get("objects", {})).items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise not_a_seal(path, type(error).__name__) from None


def is_seal(text: bytes) -> bool:
    """Return True if a seal file's content is a seal.

    It is judged by its schema: a placeholder is none.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.get("schema") == SCHEMA


def generation_of(text: bytes) -> str:
    """Return the generation that a seal file's content names.

    It is empty where the content names none, or is no seal.
    """
    generation = json.loads(text).get("generation", "") if is_seal(text) else ""
    return (
        generation
        if isinstance(generation, str) and generation.startswith(GENERATION) and "/" not in generation
        else ""
    )


def not_a_seal(path: str, reason: str) -> CorruptError:
    """The error for a seal that is damaged itself."""
    message = f"{path}: not a seal that can be read ({reason}); remove it and run ckpt seal again"
    return CorruptError(message, code="SL005", path=path)


def _names(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(type(value))
    return value
