"""Makes an unreadable seal again.

What is left of the seal must prove that the content is what was sealed.

The seal's text holds a root digest of each file, its blocks file the digests below those: either proves the content
without the other. Where they contradict the content that is damage, and the seal is left as it is: it shows it.
"""

import json
from collections.abc import Iterator
from typing import Any

from ckpt_core.arguments import argument
from ckpt_core.schema.access import Files
from ckpt_core.schema.findings import Severity
from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.repairs import Irreparable, Operation, RepairAction
from ckpt_core.schema.side_files.reserved_names import BLOCKS, DIRECTORY_SEAL, FILE_SUFFIX
from ckpt_core.schema.side_files.seals import DIGEST_BYTES, SCHEMA, Certificate, FileSeal, Seal, pack
from ckpt_core.schema.text import printable
from ckpt_core.schema.verification import Depth, VerifyReport
from ckpt_core.storage.sealing import digests_of
from ckpt_core.version import __version__

_CONTRADICTED = {
    "SL001": "the content is not what was sealed: damage, or a change that only who made it can vouch for",
    "SL002": "the content is not what was sealed: damage, or a change that only who made it can vouch for",
    "SL003": "what it held is in no other file here",
}
_HINT = "copy it again, or run ckpt seal --force if it was changed on purpose"


def propose(files: Files, report: VerifyReport) -> Iterator[RepairAction | Irreparable]:
    """Yield the repairs of a seal that the report names."""
    for finding in report.findings:
        if finding.code in _CONTRADICTED:
            yield Irreparable(f"{_CONTRADICTED[finding.code]}; {_HINT}", finding.code, finding.path)
    broken = next((finding for finding in report.findings if finding.code == "SL005"), None)
    if broken is None:
        return
    others = [f for f in report.findings if f.severity is Severity.ERROR and f.code != "SL005"]
    if others:
        reason = "a seal is made again only of what verifies by itself; mend the rest first"
        yield Irreparable(reason, "SL005", broken.path)
        return
    yield from _again(files, broken.path, report.depth)


def _again(files: Files, path: str | None, depth: Depth) -> Iterator[RepairAction | Irreparable]:
    """Yield the writes of a new seal for the content.

    It is irreparable where a half of the old seal says that the content was another.
    """
    digests = {name: digests_of(files, name) for name in files.entries}
    one = files.location.kind is LocationKind.FILE
    name = next(iter(files.entries)) + FILE_SUFFIX if one else DIRECTORY_SEAL
    document = _document(files, name)
    sealed = _roots(document)
    differing = [file for file, said in sealed.items() if file not in digests or _root(digests[file]) != said]
    if differing:
        shown = ", ".join(map(printable, sorted(differing)[:3]))
        yield Irreparable(f"its text says that {shown} had other content: damage; {_HINT}", "SL005", path)
        return
    blocks = None if one or sealed else files.beside(BLOCKS)
    if blocks and len(blocks) % DIGEST_BYTES:
        blocks = None  # not digests any more: it says nothing
    if blocks and blocks != b"".join(file.blocks for _, file in sorted(digests.items())):
        yield Irreparable(f"its digests are of other content than lies here: damage; {_HINT}", "SL005", path)
        return
    proved = "its text" if sealed else BLOCKS if blocks else ""
    if not proved and depth < Depth.BYTES:
        deeper = argument("depth", "bytes")
        reason = f"nothing of it proves the content; with {deeper} that is checked by itself, and sealed anew"
        yield Irreparable(reason, "SL005", path)
        return
    yield from _writes(name, one, _seal(document, sealed, digests), proved)


def _writes(name: str, one: bool, seal: Seal, proved: str) -> Iterator[RepairAction]:
    text, blocks = pack(seal, apart=not one)
    why = f"proved by {proved}" if proved else "nothing is left to say whether it changed before"
    yield RepairAction(f"seal the content anew; {why}", Operation.WRITE, name, text)
    if not one:
        yield RepairAction("the digests of the seal", Operation.WRITE, BLOCKS, blocks)


def _seal(document: dict[str, Any], sealed: dict[str, Any], digests: dict[str, FileSeal]) -> Seal:
    """Return a seal of these files.

    A text that was proved gives all that it said; else the seal has the files' digests alone.
    """
    if not sealed:
        about = {"ckpt_core": __version__, "sealed": "by a repair"}
        return Seal(str(document.get("format", "")), digests, provenance=about)
    said = {key: document.get(key) for key in ("tensors", "components", "provenance")}
    kept: dict[str, Any] = {key: value for key, value in said.items() if isinstance(value, dict)}
    certificates = _certificates(document.get("certificates"))
    files = {name: digests[name] for name in sealed}
    return Seal(str(document.get("format", "")), files, certificates=certificates, **kept)


def _certificates(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {}
    return {name: Certificate(*one) for name, one in value.items() if isinstance(one, list) and len(one) == 4}


def _document(files: Files, name: str) -> dict[str, Any]:
    """Return the seal's text as JSON; empty where it is none."""
    try:
        document = json.loads(files.beside(name) or b"")
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) and document.get("schema") == SCHEMA else {}


def _roots(document: dict[str, Any]) -> dict[str, Any]:
    """Return the size and root digest of each file.

    Empty where the text does not say them all.
    """
    files = document.get("files")
    if not isinstance(files, dict) or not all(isinstance(entry, dict) for entry in files.values()):
        return {}
    return {name: (entry.get("size"), entry.get("xxh3")) for name, entry in files.items()}


def _root(file: FileSeal) -> tuple[int, str]:
    return file.size, file.root
